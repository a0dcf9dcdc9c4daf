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
  let database = null;
  let current = null;
  let shownAt = 0;
  let looked = 0;
  let unwritten = 0; // changes that are not on the disk
  let kept = true;
  let exported = true;

  // What is read, from the browser or a file, is checked: anybody can write there.
  function checked(annotations) {
    const found = {};
    for (const [id, annotation] of annotations) {
      const sound = ids.has(id) && annotation && CHOICES.includes(annotation.choice) && annotation.seconds >= 0;
      if (sound) found[id] = { choice: annotation.choice, seconds: Number(annotation.seconds) };
    }
    return found;
  }

  function answer(request) {
    return new Promise((resolve, reject) => {
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
  }

  async function open() {
    const request = indexedDB.open(place);
    request.onupgradeneeded = () => request.result.createObjectStore("kept");
    database = await answer(request);
  }

  // At the start, and whenever another tab of this page may have written.
  async function restore() {
    try {
      if (!database) await open();
      const store = database.transaction("kept").objectStore("kept");
      const [keys, values] = await Promise.all([answer(store.getAllKeys()), answer(store.getAll())]);
      if (unwritten) return; // what is here is newer
      const read = new Map(keys.map((key, n) => [key, values[n]]));
      const annotations = checked(read);
      const order = Object.keys(annotations).sort((a, b) => read.get(a).at - read.get(b).at);
      state = { annotator: String(read.get("annotator") ?? "").slice(0, 60), annotations, order };
      at("annotator").value = state.annotator;
    } catch {
      lose();
    } finally {
      show();
    }
  }

  // Every choice is a record of its own, which no other tab overwrites, and is written at once.
  // localStorage would wait for seconds, and lose what it had when the browser ends meanwhile.
  function keep(change) {
    exported = false;
    unwritten += 1;
    try {
      const transaction = database.transaction("kept", "readwrite", { durability: "strict" });
      transaction.oncomplete = () => (unwritten -= 1);
      transaction.onabort = lose;
      change(transaction.objectStore("kept"));
      transaction.commit();
    } catch {
      kept = false;
    }
    if (!kept) lose();
  }

  function lose() {
    kept = false;
    say("This browser keeps nothing: export before you close the page.");
  }

  function say(text) {
    at("notice").textContent = text;
  }

  function show() {
    const total = data.items.length;
    const done = Object.keys(state.annotations).length;
    const before = current;
    current = data.items.find((item) => !(item[0] in state.annotations)) ?? null;
    at("bar").max = total;
    at("bar").value = done;
    at("count").textContent = `${done} of ${total}`;
    at("work").hidden = !current;
    at("done").hidden = Boolean(current);
    for (const button of document.querySelectorAll("[data-choice]")) button.disabled = !current;
    at("undo").disabled = state.order.length === 0;
    if (!current) {
      const skipped = Object.values(state.annotations).filter((annotation) => annotation.choice === "skip").length;
      at("sum").textContent = `${done - skipped} compared, ${skipped} skipped.`;
    } else if (current !== before) {
      for (const [n, id] of ["prompt", "left", "right"].entries()) at(id).textContent = current[n + 1];
      scrollTo(0, 0);
      looked = 0;
      shownAt = performance.now();
    }
  }

  function choose(choice) {
    if (!current) return;
    const seconds = (looked + (document.hidden ? 0 : performance.now() - shownAt)) / 1000;
    say("");
    record([[current[0], { choice, seconds: Math.round(seconds * 10) / 10 }]]);
    show();
  }

  function record(annotations) {
    for (const [id, annotation] of annotations) {
      state.annotations[id] = annotation;
      state.order.push(id);
    }
    keep((store) => {
      for (const [id, annotation] of annotations) store.put({ ...annotation, at: Date.now() }, id);
    });
  }

  function undo() {
    const last = state.order.pop();
    if (last === undefined) return;
    const before = state.annotations[last].choice;
    delete state.annotations[last];
    keep((store) => store.delete(last));
    show();
    // The first open item is shown; the one taken back is, unless an earlier one is open too.
    say(`Taken back (it was: ${{ left: "answer 1", right: "answer 2" }[before] ?? before}).`);
  }

  function name(annotator) {
    state.annotator = at("annotator").value = annotator;
    keep((store) => store.put(annotator, "annotator"));
  }

  async function save() {
    await restore();
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
      const found = checked(read.items.map((item) => [item.id, item]));
      const fresh = Object.entries(found).filter(([id]) => !(id in state.annotations));
      record(fresh);
      if (!state.annotator) name(String(read.annotator ?? "").slice(0, 60));
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
    else {
      shownAt = performance.now();
      restore();
    }
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
    name(event.target.value);
  });
  addEventListener("beforeunload", (event) => {
    if (unwritten && !exported) event.preventDefault();
  });

  restore().then(() => {
    const count = state.order.length;
    if (count) say(`Resumed: ${count} choices from before are here.`);
  });
})();
