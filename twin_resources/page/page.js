// What must happen in the browser at once: emptying a box, one answer at a time.
// Anything else is Python. Loaded once, before the page is drawn.
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
    else requestAnimationFrame(settle);
  };
  let ready = false;
  const box = (name) => document.querySelector(boxes[name].question);
  const mayAsk = (name) => ready && !busy[name] && box(name).value.trim() !== "";
  const refuse = (event) => { event.preventDefault(); event.stopImmediatePropagation(); };

  // Enter asks. While an answer is written, or before it is known who can be asked, nothing is
  // sent and the text stays where it is.
  document.addEventListener("keydown", (event) => {
    for (const name of Object.keys(boxes)) {
      if (event.key === "Escape" && busy[name]) document.querySelector(boxes[name].stop)?.click();
      if (event.key !== "Enter" || event.shiftKey || event.target !== box(name)) continue;
      if (event.isComposing || !mayAsk(name)) refuse(event);
    }
  }, true);
  document.addEventListener("click", (event) => {
    for (const name of Object.keys(boxes)) {
      if (event.target.closest?.(boxes[name].send) && !mayAsk(name)) refuse(event);
    }
  }, true);

  // An address is a state of the page: a click writes it, Back restores it.
  const show = () => document.querySelector("#go-to")?.click();
  window.addEventListener("popstate", show);
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[data-trace], a[data-list]");
    if (!link || event.defaultPrevented || event.ctrlKey || event.metaKey || event.button) return;
    event.preventDefault();
    history.pushState(null, "", link.getAttribute("href"));
    show();
  });

  // The last question is scrolled to the top of the conversation as its answer grows below it,
  // until the reader scrolls; who reads the beginning is not torn away from it.
  let following = true;
  for (const moved of ["wheel", "touchmove", "pointerdown"]) {
    document.addEventListener(moved, (event) => {
      if (event.target.closest?.("#conversation")) following = false;
    }, { passive: true });
  }
  const follow = () => {
    const log = document.querySelector("#conversation .bubble-wrap");
    const question = [...(log?.querySelectorAll(".user-row") ?? [])].pop();
    if (following && question) log.scrollTop = question.offsetTop;
  };
  const settle = () => { follow(); following = false; };

  new MutationObserver(() => {
    follow();
    // Gradio calls its examples a list, of which no child is an item: a screen reader hears a group
    document.querySelector(".examples[role=list]")?.setAttribute("role", "group");
  }).observe(document.documentElement, {
    childList: true, characterData: true, subtree: true,
  });

  // An answer is copied as it was written: the marks and the escaped signs are the page's own.
  const write = navigator.clipboard?.writeText.bind(navigator.clipboard);
  if (write) {
    navigator.clipboard.writeText = (text) => write(
      text.replace(/<\/?mark>/g, "").replaceAll("&lt;", "<").replaceAll("&amp;", "&"),
    );
  }

  return {
    ready: () => {
      ready = true;
      document.body.dataset.ready = "yes";
      requestAnimationFrame(settle);
    },
    take: (text, name = "talk") => { setBusy(name, true); return ["", text]; },
    begin: () => setBusy("talk", true),
    done: (name = "talk") => setBusy(name, false),
    // a tab that was clicked; the list of traces does not hide the trace that an address names
    setPlace: (address) => {
      if (!ready) return; // the first tab is "selected" while the page is drawn
      const trace = new URLSearchParams(location.search).get("trace");
      if (address !== "/?view=traces" || !trace) history.replaceState(null, "", address);
    },
  };
})();
