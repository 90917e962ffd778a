// The official client for JavaScript and the AI SDK against a running gateway; prints one JSON line.
import OpenAI from "openai";
import { generateText, streamText, tool } from "ai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { createOpenAI } from "@ai-sdk/openai";
import { z } from "zod";

const { GATEWAY_URL: baseURL, GATEWAY_KEY: apiKey, READERS_QUESTION: question } = process.env;
const system = "Be brief.";
const messages = [{ role: "developer", content: system }, { role: "user", content: question }];
const told = {};

const openai = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const chat = await openai.chat.completions.create({ model: "twin/ann", messages, n: 1, store: true });
told.chat = { text: chat.choices[0].message.content, twin: chat.twin, id: chat._request_id };

let text = "";
let twin;
const stream = await openai.chat.completions.create({ model: "twin/ann", messages, stream: true });
for await (const chunk of stream) {
  text += chunk.choices[0]?.delta?.content ?? "";
  twin = chunk.twin ?? twin;
}
told.stream = { text, twin };

const response = await openai.responses.create({
  model: "twin/ann", instructions: system, input: question,
});
told.response = { text: response.output_text, twin: response.twin };

const streamed = openai.responses.stream({ model: "twin/ann", input: question });
let deltas = "";
streamed.on("response.output_text.delta", (event) => { deltas += event.delta; });
const final = await streamed.finalResponse();
told.responseStream = { text: final.output_text, twin: final.twin, same: deltas === final.output_text };

const previous = await openai.responses.create({
  model: "twin/ann", input: question, previous_response_id: response.id,
});
told.previous = { text: previous.output_text, twin: previous.twin };

told.model = await openai.models.retrieve("twin/ann");

const provider = createOpenAICompatible({ name: "twin", baseURL, apiKey });
const clock = tool({ description: "A clock.", inputSchema: z.object({}), execute: () => "noon" });
const generated = await generateText({
  model: provider("twin/ann"), system, prompt: question, tools: { clock }, maxRetries: 0,
});
told.generateText = { text: generated.text };
const live = streamText({ model: provider("twin/ann"), system, prompt: question, maxRetries: 0 });
let pieces = "";
for await (const piece of live.textStream) pieces += piece;
told.streamText = { text: pieces };

// The AI SDK's default provider names its own first answer by id in the second message.
const ann = createOpenAI({ baseURL, apiKey })("twin/ann");
const first = await generateText({ model: ann, prompt: question, maxRetries: 0 });
told.firstTurn = { text: first.text };
const second = await generateText({
  model: ann,
  messages: [
    { role: "user", content: question }, ...first.response.messages, { role: "user", content: question },
  ],
  maxRetries: 0,
});
const { body } = second.request;
told.secondTurn = {
  text: second.text,
  sent: typeof body === "string" ? body : JSON.stringify(body),
  twin: second.response.body.twin,
};

console.log(JSON.stringify(told));
