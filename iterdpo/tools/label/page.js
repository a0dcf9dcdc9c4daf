"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const CHOICES = ["left", "right", "tie", "skip"];
  const KEYS = { 1: "left", 2: "right", 0: "tie", s: "skip", S: "skip" };
  const place = `iterdpo-label-${data.task}`;
  const at = (id) => document.getElementById(id);
  const ids = new Set(data.items.map((item) => item[0]));

  // Everything that is kept: who labels, the choice by item id, and the ids in the order chosen.
  let state = { annotator: "", annotations: {}, order: [] };
  let current = null;
  let shownAt = 0;
  let looked = 0;
  let kept = true;
  let exported = true;

  // What is read, from the browser or a file, is checked: anybody can write there.
  function checked(annotations) {
    const found = {};
    for (const [id, annotation] of Object.entries(annotations ?? {})) {
      const sound = ids.has(id) && annotation && CHOICES.includes(annotation.choice) && annotation.seconds >= 0;
      if (sound) found[id] = { choice: annotation.choice, seconds: Number(annotation.seconds) };
    }
    return found;
  }

  function restore() {
    try {
      const read = JSON.parse(localStorage.getItem(place) ?? "null");
      if (!read) return;
      const annotations = checked(read.annotations);
      const order = (Array.isArray(read.order) ? read.order : []).filter((id) => id in annotations);
      state = { annotator: String(read.annotator ?? "").slice(0, 60), annotations, order: [...new Set(order)] };
      const count = Object.keys(annotations).length;
      if (count) say(`Resumed: ${count} choices from before are here.`);
    } catch {
      kept = false;
    }
  }

  function keep() {
    exported = false;
    try {
      localStorage.setItem(place, JSON.stringify(state));
    } catch {
      kept = false;
    }
    if (!kept) say("This browser keeps nothing: export before you close the page.");
  }

  function say(text) {
    at("notice").textContent = text;
  }

  function show() {
    const total = data.items.length;
    const done = Object.keys(state.annotations).length;
    current = data.items.find((item) => !(item[0] in state.annotations)) ?? null;
    at("bar").max = total;
    at("bar").value = done;
    at("count").textContent = `${done} of ${total}`;
    at("work").hidden = !current;
    at("done").hidden = Boolean(current);
    for (const button of document.querySelectorAll("[data-choice]")) button.disabled = !current;
    at("undo").disabled = state.order.length === 0;
    if (current) {
      for (const [n, id] of ["prompt", "left", "right"].entries()) at(id).textContent = current[n + 1];
      scrollTo(0, 0);
      looked = 0;
      shownAt = performance.now();
    } else {
      const skipped = Object.values(state.annotations).filter((annotation) => annotation.choice === "skip").length;
      at("sum").textContent = `${done - skipped} compared, ${skipped} skipped.`;
    }
  }

  function choose(choice) {
    if (!current) return;
    const seconds = (looked + (document.hidden ? 0 : performance.now() - shownAt)) / 1000;
    state.annotations[current[0]] = { choice, seconds: Math.round(seconds * 10) / 10 };
    state.order.push(current[0]);
    say("");
    keep();
    show();
  }

  function undo() {
    const last = state.order.pop();
    if (last === undefined) return;
    const before = state.annotations[last].choice;
    delete state.annotations[last];
    keep();
    show();
    // The first open item is shown; the one taken back is, unless an earlier one is open too.
    say(`Taken back (it was: ${{ left: "answer 1", right: "answer 2" }[before] ?? before}).`);
  }

  function save() {
    const annotator = at("annotator").value.trim();
    if (!annotator) {
      say("Write your name or an alias first: it tells your choices from those of others.");
      at("annotator").focus();
      return;
    }
    const items = data.items
      .filter((item) => item[0] in state.annotations)
      .map((item) => ({ id: item[0], ...state.annotations[item[0]] }));
    const text = JSON.stringify({ format: data.format, task: data.task, annotator, items }, null, 1);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text + "\n"], { type: "application/json" }));
    const safe = annotator.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-+|-+$/g, "") || "annotator";
    link.download = `labels-${data.task.slice(0, 8)}-${safe}.json`;
    link.click();
    URL.revokeObjectURL(link.href);
    exported = true;
    say(`Exported ${items.length} choices to ${link.download}.`);
  }

  async function load(file) {
    try {
      const read = JSON.parse(await file.text());
      if (read.format !== data.format || read.task !== data.task) {
        say("That file is of another page; nothing was imported.");
        return;
      }
      const annotations = checked(Object.fromEntries(read.items.map((item) => [item.id, item])));
      const fresh = Object.keys(annotations).filter((id) => !(id in state.annotations));
      for (const id of fresh) state.annotations[id] = annotations[id];
      state.order.push(...fresh);
      state.annotator ||= String(read.annotator ?? "").slice(0, 60);
      at("annotator").value = state.annotator;
      keep();
      show();
      say(`Imported ${fresh.length} choices.`);
    } catch {
      say("That is no exported file; nothing was imported.");
    }
  }

  document.addEventListener("keydown", (event) => {
    const typing = event.target === at("annotator");
    if (typing && event.key === "Enter") event.target.blur();
    if (typing || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (event.key === "u" || event.key === "U") undo();
    else if (Object.hasOwn(KEYS, event.key)) choose(KEYS[event.key]);
    else return;
    event.preventDefault();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) looked += performance.now() - shownAt;
    else shownAt = performance.now();
  });
  for (const button of document.querySelectorAll("[data-choice]")) {
    button.addEventListener("click", () => choose(button.dataset.choice));
  }
  at("undo").addEventListener("click", undo);
  at("export").addEventListener("click", save);
  at("load").addEventListener("click", () => at("file").click());
  at("file").addEventListener("change", async (event) => {
    if (event.target.files[0]) await load(event.target.files[0]);
    event.target.value = "";
  });
  at("annotator").addEventListener("input", (event) => {
    state.annotator = event.target.value;
    keep();
  });
  addEventListener("beforeunload", (event) => {
    if (!kept && !exported) event.preventDefault();
  });

  restore();
  at("annotator").value = state.annotator;
  show();
})();
