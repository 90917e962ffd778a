// A button and a panel with which the pages of an author's site ask the author's twin.
// Posts and answers are data: they become text nodes and are never parsed as HTML.
(() => {
  "use strict";
  const script = document.currentScript;
  const { author, key, name = author } = script.dataset;
  const base = new URL(".", script.src);
  const PROSE = /^✎ \*\*(.+)\*\*\n*/m; // the line above what a model wrote
  const INLINE = /(\*\*[^*]+\*\*|\*[^*\s][^*]*\*|`[^`\n]+`|!?\[[^\]]*\]\([^)\s]+\))/;
  const MAX_TURNS = 6;
  const messages = []; // the conversation, in the memory of this page alone
  let request = null;

  const make = (tag, properties = {}, ...children) => {
    const node = Object.assign(document.createElement(tag), properties);
    node.append(...children);
    return node;
  };

  function makeLink(label, url) {
    if (!/^https?:\/\//i.test(url)) return label;
    return make("a", { href: url, target: "_blank", rel: "noopener" }, label);
  }

  function renderInline(text) {
    return text.split(INLINE).map((piece, index) => {
      if (index % 2 === 0) return piece;
      if (piece.startsWith("**")) return make("strong", {}, piece.slice(2, -2));
      if (piece.startsWith("*")) return make("em", {}, piece.slice(1, -1));
      if (piece.startsWith("`")) return make("code", {}, piece.slice(1, -1));
      const [, label, url] = piece.match(/\[([^\]]*)\]\(([^)]+)\)/);
      return makeLink(label, url);
    });
  }

  function renderText(text) {
    return text.split(/^ {0,3}(?:```|~~~).*\n?/m).flatMap((part, index) => {
      if (index % 2) return [make("pre", { tabIndex: 0 }, part)];
      const blocks = part.split(/\n\s*\n/).filter((block) => block.trim());
      return blocks.map((block) => make("p", {}, ...renderInline(block.trim().replace(/^#+ /, ""))));
    });
  }

  function renderQuotation({ text, title, url, document_id, published_at, age }) {
    const language = document.documentElement.lang;
    const source = makeLink(title || document_id, url);
    const day = published_at ? `, ${published_at}` : "";
    return make("figure", {}, make("blockquote", { lang: language }, ...renderText(text)),
      make("figcaption", {}, "— ", source, day, age ? ` · ${age}` : ""));
  }

  function renderAnswer(text, twin) {
    const [above, label, prose] = text.split(PROSE);
    const quotations = twin.quotes.length ? twin.quotes : twin.nearest;
    // What is quoted, and the disclosure that an author puts above answers, stand beside the text.
    const own = above.split("\n").filter((line) => !(line.startsWith(">") && quotations.length))
      .join("\n").replace(`ⓘ ${twin.disclosure}`, "");
    const written = label ? [make("p", { className: "by" }, label), ...renderText(prose)] : [];
    return [make("p", { className: "by" }, twin.disclosure),
      ...renderText(own), ...quotations.map(renderQuotation), ...written];
  }

  async function post(path, body, signal) {
    let response;
    try {
      response = await fetch(new URL(path, base), {
        method: "POST",
        headers: { "Content-Type": "application/json", Authorization: `Bearer ${key}` },
        body: JSON.stringify(body),
        signal,
      });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Error(`${base.host} does not respond, or has no key for pages of ${location.origin}.`);
    }
    if (response.ok) return response;
    const refusal = await response.json().catch(() => ({}));
    throw new Error(refusal.error?.message ?? `The twin answered ${response.status}.`);
  }

  async function readAnswer(response, show) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let buffer = "", text = "", twin = null, isWhole = false;
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      const events = (buffer + part.value).split("\n\n");
      buffer = events.pop();
      for (const event of events.filter((line) => line.startsWith("data: "))) {
        if (event === "data: [DONE]") { isWhole = true; continue; }
        const chunk = JSON.parse(event.slice(6));
        if (chunk.error) throw new Error(chunk.error.message);
        text += chunk.choices[0]?.delta?.content ?? "";
        twin = chunk.twin ?? twin;
      }
      if (twin) show(text, twin);
    }
    if (!isWhole) throw new Error("The answer broke off. Please ask again.");
    return { text, twin };
  }

  function renderVotes(trace) {
    const vote = async (thumb, button) => {
      try {
        await post("twin/feedback", { trace_id: trace, thumb });
        for (const other of row.children) other.ariaPressed = String(other === button);
        status.textContent = "Thank you. Your vote was stored.";
      } catch (error) {
        status.textContent = error.message;
      }
    };
    const row = make("div", { className: "votes" });
    for (const [thumb, label] of [["up", "Helpful"], ["down", "Not helpful"]]) {
      const button = make("button", { type: "button", ariaPressed: "false" }, label);
      button.onclick = () => vote(thumb, button);
      row.append(button);
    }
    return row;
  }

  async function ask(question) {
    const answer = make("div", { className: "answer" });
    const head = make("p", { className: "question" }, question);
    log.append(head, answer);
    log.scrollTop = log.scrollHeight;
    const show = (text, twin) => {
      const isFirst = !answer.hasChildNodes(); // later a reader may have scrolled
      answer.replaceChildren(...renderAnswer(text, twin));
      if (isFirst) log.scrollTop = head.offsetTop - log.offsetTop;
    };
    log.ariaBusy = "true"; // a screen reader reads the answer once, when it is whole
    send.textContent = "Stop";
    status.textContent = `Looking in the posts of ${name} …`;
    request = new AbortController();
    const metadata = isAboutPage.checked
      ? { "twin.page": canonicalAddress(), "twin.page_title": document.title.slice(0, 512) } : {};
    const asked = { role: "user", content: question };
    try {
      const response = await post("v1/chat/completions", {
        model: `twin/${author}`, stream: true, metadata,
        messages: [...messages.slice(-MAX_TURNS), asked],
      }, request.signal);
      const { text, twin } = await readAnswer(response, show);
      messages.push(asked, { role: "assistant", content: text });
      answer.append(renderVotes(twin.trace_id));
      status.textContent = "";
    } catch (error) {
      status.textContent = error.name === "AbortError" ? "Stopped." : error.message;
    }
    request = null;
    send.textContent = "Ask";
    log.ariaBusy = "false";
  }

  function canonicalAddress() {
    const canonical = document.querySelector("link[rel=canonical]");
    return (canonical?.href || location.href).split("#")[0].slice(0, 512);
  }

  function setOpen(isOpen) {
    panel.hidden = !isOpen;
    opener.hidden = isOpen;
    (isOpen ? input : opener).focus();
  }

  const style = new CSSStyleSheet(); // unlike a style element, allowed by a strict policy of a site
  style.replaceSync(`
    :host { all: initial; color-scheme: light dark; --back: #fff; --text: #1f2328; --quiet: #57606a;
      --line: #8c959f; --accent: #0b57d0; --on-accent: #fff; --soft: #f3f5f8;
      font: 16px/1.5 system-ui, sans-serif; color: var(--text); }
    @media (prefers-color-scheme: dark) { :host { --back: #1b1f24; --text: #e6edf3; --quiet: #a9b3be;
      --line: #6e7681; --accent: #8ab4f8; --on-accent: #10151c; --soft: #262c34; } }
    * { box-sizing: border-box; font: inherit; }
    [hidden] { display: none !important; }
    .opener, section { position: fixed; right: 16px; bottom: 16px; z-index: 2147483647; }
    button { padding: 6px 14px; border: 1px solid var(--line); border-radius: 8px; cursor: pointer;
      background: var(--back); color: var(--text); }
    .opener, .send, [aria-pressed=true] { background: var(--accent); color: var(--on-accent);
      border-color: var(--accent); }
    .opener { padding: 10px 18px; border-radius: 24px; box-shadow: 0 2px 8px #0006; }
    section { display: flex; flex-direction: column; gap: 8px; width: min(400px, 100vw - 16px);
      max-height: min(620px, 100dvh - 32px); padding: 12px; background: var(--back); color: var(--text);
      border: 1px solid var(--line); border-radius: 12px; box-shadow: 0 4px 24px #0006; }
    @media (max-width: 432px) { section { right: 8px; bottom: 8px; } }
    header, form { display: flex; gap: 8px; align-items: center; justify-content: space-between; }
    h2, p, figure, blockquote { margin: 0; }
    h2 { font-weight: 600; }
    .status { min-height: 21px; }
    .log { overflow: auto; flex: 1; min-height: 0; overflow-wrap: anywhere; }
    .log p, .log pre { margin: 8px 0; }
    .question { font-weight: 600; background: var(--soft); border-radius: 8px; padding: 6px 10px; }
    .by { font-size: 14px; font-style: italic; }
    blockquote { border-left: 3px solid var(--accent); padding-left: 10px; }
    figcaption, small, .status, label { font-size: 14px; color: var(--quiet); }
    figure { margin-bottom: 12px; }
    pre { overflow: auto; background: var(--soft); padding: 8px; font: 13px/1.4 monospace; }
    code { font-family: monospace; } strong { font-weight: 700; } em { font-style: italic; }
    a { color: var(--accent); }
    .votes { display: flex; gap: 8px; font-size: 14px; }
    input[type=text] { flex: 1; min-width: 0; padding: 8px; border: 1px solid var(--line);
      border-radius: 8px; background: var(--back); color: var(--text); }
    :focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
  `);

  const title = `Ask ${name}`;
  const opener = make("button", { type: "button", className: "opener" }, title);
  const close = make("button", { type: "button" }, "Close");
  const log = make("div", { className: "log", role: "log", ariaLabel: "Answers", tabIndex: 0 });
  const status = make("p", { className: "status", role: "status" });
  const isAboutPage = make("input", { type: "checkbox", checked: true });
  const input = make("input", { type: "text", ariaLabel: `Your question to ${name}`, maxLength: 6000 });
  const send = make("button", { className: "send" }, "Ask");
  const form = make("form", {}, input, send);
  const panel = make("section", { role: "dialog", ariaLabel: title, hidden: true },
    make("header", {}, make("h2", {}, title), close), log, status,
    make("label", {}, isAboutPage, ` Look first in “${document.title}”`), form,
    make("small", {}, "Questions and votes are stored by this site’s twin, without a name or a cookie."));
  opener.onclick = () => setOpen(true);
  close.onclick = () => setOpen(false);
  panel.onkeydown = (event) => { if (event.key === "Escape") setOpen(false); };
  form.onsubmit = (event) => {
    event.preventDefault();
    if (request) { request.abort(); return; }
    const question = input.value.trim();
    input.value = "";
    if (question) ask(question);
  };

  const host = make("llm-twin", { lang: "en" });
  const root = host.attachShadow({ mode: "open" });
  root.adoptedStyleSheets = [style];
  root.append(opener, panel);
  const add = () => document.body.append(host);
  if (document.body) add(); else document.addEventListener("DOMContentLoaded", add);
})();
