// Handle what must not wait for the server: clear the question box, and allow one answer at a time.
// Python handles everything else. This script is loaded once, before the page is rendered.
window.twin = (() => {
  const boxes = {
    talk: { question: "#question textarea", send: "#send", stop: "#stop" },
    compare: {
      question: "#compare-question textarea", send: "#compare-send", stop: "#compare-stop",
    },
  };
  const busy = { talk: false, compare: false };
  const setBusy = (name, value) => {
    busy[name] = value;
    document.body.dataset[name] = value ? "busy" : "free";
    if (name !== "talk") return;
    if (value) following = true;
    else requestAnimationFrame(scrollOnce);
  };
  // A question that the server has not received goes back into its box, before what was typed since.
  const unsent = {};
  const fillBox = (name, text) => {
    const box = questionBox(name);
    Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, "value").set.call(box, text);
    box.dispatchEvent(new Event("input", { bubbles: true })); // Gradio reads the box at this event
  };
  const restoreQuestion = (name) => {
    fillBox(name, [unsent[name], questionBox(name).value].filter(Boolean).join("\n"));
    delete unsent[name];
    setBusy(name, false);
  };
  // Gradio reloads the page as soon as a lost connection is back; what is in a box outlives that.
  window.addEventListener("pagehide", () => {
    for (const name of Object.keys(boxes)) {
      sessionStorage.setItem(`twin-box-${name}`, unsent[name] ?? questionBox(name)?.value ?? "");
    }
  });
  const refillBoxes = () => {
    for (const name of Object.keys(boxes)) {
      const text = sessionStorage.getItem(`twin-box-${name}`);
      if (text && questionBox(name) && !questionBox(name).value) fillBox(name, text);
    }
  };
  const send = window.fetch.bind(window);
  window.fetch = async (...request) => {
    const isQuestion = String(request[0]?.url ?? request[0]).includes("/queue/join");
    const names = isQuestion ? Object.keys(unsent) : [];
    try {
      const response = await send(...request);
      if (response.ok) names.forEach((name) => delete unsent[name]);
      else names.forEach(restoreQuestion);
      return response;
    } catch (error) {
      names.forEach(restoreQuestion);
      throw error;
    }
  };
  let ready = false;
  let sendWhenReady = ""; // the box whose question was sent before the authors were loaded
  const questionBox = (name) => document.querySelector(boxes[name].question);
  const canAsk = (name) => {
    const isFree = !busy[name] && questionBox(name).value.trim() !== "";
    if (isFree && !ready) sendWhenReady = name;
    return isFree && ready;
  };
  const cancel = (event) => { event.preventDefault(); event.stopImmediatePropagation(); };

  // Enter sends the question. During an answer, nothing is sent and the text stays in the box.
  // Before the authors are loaded, the question is sent as soon as they are.
  document.addEventListener("keydown", (event) => {
    for (const name of Object.keys(boxes)) {
      if (event.key === "Escape" && busy[name]) document.querySelector(boxes[name].stop)?.click();
      if (event.key !== "Enter" || event.shiftKey || event.target !== questionBox(name)) continue;
      if (event.isComposing || !canAsk(name)) cancel(event);
    }
  }, true);
  document.addEventListener("click", (event) => {
    for (const name of Object.keys(boxes)) {
      if (event.target.closest?.(boxes[name].send) && !canAsk(name)) cancel(event);
    }
  }, true);

  // The address contains the state of the page: a click changes it, and Back restores it.
  const openAddress = () => document.querySelector("#go-to")?.click();
  window.addEventListener("popstate", openAddress);
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[data-trace], a[data-list]");
    if (!link || event.defaultPrevented || event.ctrlKey || event.metaKey || event.button) return;
    event.preventDefault();
    history.pushState(null, "", link.getAttribute("href"));
    openAddress();
  });

  // A number in an answer opens its passage among the footnotes below.
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[href^='#passage-']");
    if (!link) return;
    event.preventDefault();
    const isBelow = (notes) =>
      link.compareDocumentPosition(notes) & Node.DOCUMENT_POSITION_FOLLOWING;
    const notes = [...document.querySelectorAll(".twin-notes")].find(isBelow);
    const note = notes?.querySelectorAll("ol > li > details")[link.hash.slice("#passage-".length) - 1];
    if (!note) return;
    note.open = true;
    note.scrollIntoView({ block: "nearest" });
  });

  // While an answer grows, its question is scrolled to the top of the conversation. This stops when
  // the reader scrolls, so that the text being read does not move.
  let following = true;
  for (const eventName of ["wheel", "touchmove", "pointerdown"]) {
    document.addEventListener(eventName, (event) => {
      if (event.target.closest?.("#conversation")) following = false;
    }, { passive: true });
  }
  const scrollToQuestion = () => {
    const conversation = document.querySelector("#conversation .bubble-wrap");
    const question = [...(conversation?.querySelectorAll(".user-row") ?? [])].pop();
    if (following && question) conversation.scrollTop = question.offsetTop;
  };
  const scrollOnce = () => { scrollToQuestion(); following = false; };

  new MutationObserver(() => {
    scrollToQuestion();
    // Gradio gives its examples the role "list" without list items; "group" is valid for screen readers.
    document.querySelector(".examples[role=list]")?.setAttribute("role", "group");
  }).observe(document.documentElement, {
    childList: true, characterData: true, subtree: true,
  });

  // Copy an answer as the model wrote it, without the marks and the escaping that the page adds.
  const writeText = navigator.clipboard?.writeText.bind(navigator.clipboard);
  if (writeText) {
    const unescaped = { "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#x27;": "'", "&amp;": "&" };
    navigator.clipboard.writeText = (text) => writeText(
      text.replace(/<\/?mark>| \[\d\]\(#passage-\d\)/g, "")
        .replace(/<aside class="twin-prose"><p class="twin-prose-label">(.*?)<\/p>/g, "✎ **$1**")
        .replace(/<code>(.*?)<\/code>/gs, (_, code) => `\`${code.replace(/\\([!-/:-@[-`{-~])/g, "$1")}\``)
        .replace(/&(?:lt|gt|quot|#x27|amp);/g, (entity) => unescaped[entity]),
    );
  }

  return {
    ready: () => {
      ready = true;
      document.body.dataset.ready = "yes";
      refillBoxes();
      requestAnimationFrame(scrollOnce);
      if (sendWhenReady) document.querySelector(boxes[sendWhenReady].send).click();
    },
    submitQuestion: (text, name = "talk") => {
      setBusy(name, true);
      unsent[name] = text;
      return ["", text];
    },
    startAnswer: () => setBusy("talk", true),
    finishAnswer: (name = "talk") => setBusy(name, false),
    // Called when a tab is selected; an address that names a trace is kept.
    setAddress: (address) => {
      if (!ready) return; // Gradio selects the first tab while it renders the page
      const trace = new URLSearchParams(location.search).get("trace");
      if (address !== "/?view=traces" || !trace) history.replaceState(null, "", address);
    },
  };
})();
