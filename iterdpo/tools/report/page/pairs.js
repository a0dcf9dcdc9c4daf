// The pair browser: filters, search, order, pages, and one pair with all that is known of it.

const PER_PAGE = 20;

const ORDERS = [
  ["made", "as they were made", (all) => (a, b) => a - b],
  ["wide", "largest margin first", (all) => (a, b) => all.margin[b] - all.margin[a] || a - b],
  ["narrow", "smallest margin first", (all) => (a, b) => all.margin[a] - all.margin[b] || a - b],
  ["worst", "worst label first", (all) => (a, b) => gap(all, a) - gap(all, b) || a - b],
];

/** Return by how much the oracle prefers the chosen answer. */
function gap(all, at) {
  const scores = all.oracle[at];
  return scores ? scores[0] - scores[1] : Infinity;
}

class PairBrowser {
  constructor(place, data) {
    this.place = place;
    this.data = data;
    this.all = data.pairs;
    this.page = 0;
    this.open = null;
    this.searchable = new Map();
    this.controls = this.makeControls();
    this.count = make("p", { class: "count", role: "status", "aria-live": "polite" });
    this.list = make("ul", { class: "pairs" });
    this.pager = make("div", { class: "pager" });
    place.replaceChildren(this.about(), this.filters(), this.count, this.list, this.pager);
    this.update();
    this.openNamed();
    addEventListener("hashchange", () => this.openNamed());
  }

  /** Say what is here and what was left out. */
  about() {
    const { total, wrong, left_out: out, wrong_left_out: wrongOut, cut, labeled, missing } = this.data;
    const said = [`${counted(total, "pair")} ${total === 1 ? "was" : "were"} made.`];
    if (labeled) said.push(`The oracle calls ${counted(wrong, "label")} wrong: the rejected answer is the better one.`);
    if (out) said.push(`${counted(total - out, "pair")} are in this page, chosen evenly by iteration and margin, wrong labels first; ${out.toLocaleString("en-US")} were left out (${wrongOut.toLocaleString("en-US")} of them wrong). The store has all of them.`);
    if (cut) said.push(`${counted(cut, "long text")} ${cut === 1 ? "is" : "are"} shortened here; the store has the whole.`);
    const about = make("div", { class: "about" }, make("p", {}, said.join(" ")));
    for (const line of missing) about.append(make("p", { class: "warning" }, line));
    return about;
  }

  makeControls() {
    const { runs, sources, labeled } = this.data;
    const pick = (name, options) => make("select", { name, onchange: () => this.restart() },
      ...options.map(([value, text]) => make("option", { value }, text)));
    const iterations = [...new Set(sources.map((source) => source.iteration))].sort((a, b) => a - b);
    const typed = (attributes) => make("input", { ...attributes, oninput: () => this.restartSoon() });
    return {
      search: typed({ type: "search", name: "search", placeholder: "words, or an id", autocomplete: "off", spellcheck: "false" }),
      run: runs.length > 1 ? pick("run", [["", "all"], ...runs.map((name, at) => [at, oneLine(name)])]) : null,
      iteration: pick("iteration", [["", "all"], ...iterations.map((t) => [t, `for M${t}`])]),
      label: labeled ? pick("label", [["", "all"], ["wrong", "wrong"], ["equal", "equal"], ["right", "right"]]) : null,
      least: typed({ type: "number", name: "least", step: "0.1", min: "0", inputmode: "decimal" }),
      most: typed({ type: "number", name: "most", step: "0.1", min: "0", inputmode: "decimal" }),
      order: pick("order", ORDERS.filter(([key]) => labeled || key !== "worst")),
    };
  }

  filters() {
    const { search, run, iteration, label, least, most, order } = this.controls;
    const named = (text, control, kind = "") => control && make("label", { class: kind }, text, control);
    return make("form", { class: "filters", role: "search", "aria-label": "Pairs", onsubmit: (event) => event.preventDefault() },
      named("Search", search, "search"), named("Run", run), named("Iteration", iteration), named("Label", label),
      named("Margin from", least, "narrow"), named("to", most, "narrow"), named("Order", order));
  }

  restartSoon() {
    clearTimeout(this.soon);
    this.soon = setTimeout(() => this.restart(), 120);
  }

  restart() {
    this.page = 0;
    this.open = null;
    this.update();
  }

  /** Return the places of the pairs that pass every filter, in order. */
  matching() {
    const { all, data } = this;
    const value = (name) => this.controls[name]?.value ?? "";
    const words = value("search").toLowerCase().split(/\s+/).filter(Boolean);
    const [run, iteration, label] = [value("run"), value("iteration"), value("label")];
    const least = value("least") === "" ? -Infinity : Number(value("least"));
    const most = value("most") === "" ? Infinity : Number(value("most"));
    const found = [];
    for (let at = 0; at < all.id.length; at++) {
      const source = data.sources[all.source[at]];
      if (run !== "" && !source.runs.includes(Number(run))) continue;
      if (iteration !== "" && source.iteration !== Number(iteration)) continue;
      if (label !== "" && all.label[at] !== label) continue;
      if (all.margin[at] < least || all.margin[at] > most) continue;
      if (words.length && !this.has(at, words)) continue;
      found.push(at);
    }
    const [, , order] = ORDERS.find(([key]) => key === this.controls.order.value);
    return found.sort(order(all));
  }

  has(at, words) {
    const { all, data } = this;
    const ids = [all.id[at], all.prompt_id[at], data.answers.id[all.chosen[at]], data.answers.id[all.rejected[at]]];
    const texts = [all.prompt[at], data.answers.text[all.chosen[at]], data.answers.text[all.rejected[at]]];
    return words.every((word) => texts.some((text) => this.lowered(text).includes(word)) || ids.some((id) => id.startsWith(word)));
  }

  lowered(text) {
    if (!this.searchable.has(text)) this.searchable.set(text, this.data.texts[text].toLowerCase());
    return this.searchable.get(text);
  }

  update() {
    const found = this.matching();
    const pages = Math.max(1, Math.ceil(found.length / PER_PAGE));
    this.page = Math.min(this.page, pages - 1);
    const here = found.slice(this.page * PER_PAGE, (this.page + 1) * PER_PAGE);
    this.count.textContent = found.length === this.all.id.length
      ? counted(found.length, "pair") : `${found.length.toLocaleString("en-US")} of ${counted(this.all.id.length, "pair")}`;
    this.list.replaceChildren(...here.map((at) => this.row(at)));
    const turn = (by, text) => make("button", {
      type: "button", "data-turn": by, disabled: this.page + by < 0 || this.page + by >= pages,
      onclick: () => { this.page += by; this.open = null; this.update(); this.count.scrollIntoView({ block: "center" }); },
    }, text);
    this.pager.replaceChildren(turn(-1, "Previous"), `page ${this.page + 1} of ${pages}`, turn(1, "Next"));
  }

  row(at) {
    const { all, data } = this;
    const source = data.sources[all.source[at]];
    const label = all.label[at];
    const tag = label && make("span", { class: `tag ${label}` }, { wrong: "wrong label", right: "right", equal: "equal" }[label]);
    const head = make("button", { type: "button", class: "pair", "aria-expanded": "false", "data-pair": all.id[at] },
      make("span", { class: "model" }, `for M${source.iteration}`),
      make("span", { class: "said", dir: "auto" }, oneLine(data.texts[all.prompt[at]])),
      make("span", { class: "margin" }, `margin ${figure(all.margin[at])}`, tag),
      make("span", { class: "said answers", dir: "auto" }, `${this.answer(all.chosen[at])} ≻ ${this.answer(all.rejected[at])}`));
    const item = make("li", {}, head);
    head.addEventListener("click", () => {
      const isOpen = head.getAttribute("aria-expanded") === "true";
      head.setAttribute("aria-expanded", String(!isOpen));
      if (isOpen) item.lastElementChild.remove();
      else item.append(this.detail(at));
    });
    return item;
  }

  answer(at) {
    return oneLine(this.data.texts[this.data.answers.text[at]]) || "(nothing)";
  }

  /** Show the pair that the address names (#pair-<id>), as long as it is here. */
  openNamed() {
    const id = location.hash.match(/^#pair-([0-9a-f]+)$/)?.[1];
    const at = id ? this.all.id.indexOf(id) : -1;
    if (at < 0) return;
    const { order, ...filters } = this.controls;
    for (const control of Object.values(filters)) if (control) control.value = "";
    filters.search.value = id;
    this.restart();
    this.list.querySelector("button")?.click();
    this.place.scrollIntoView();
  }

  detail(at) {
    const { all, data } = this;
    const { answers, texts } = data;
    const [chosen, rejected] = [all.chosen[at], all.rejected[at]];
    const pieces = wordDiff(texts[answers.text[chosen]], texts[answers.text[rejected]]);
    const detail = make("div", { class: "detail" }, make("h4", {}, "Prompt"), words(texts[all.prompt[at]]));
    if (all.beside[at] !== null) detail.append(make("h4", {}, "Known of it"), words(texts[all.beside[at]]));
    if (all.why[at]) detail.append(make("p", { class: "why" }, make("strong", {}, "Wrong label. "), all.why[at]));
    detail.append(make("div", { class: "sides" },
      this.side(at, chosen, "chosen", pieces?.[0]), this.side(at, rejected, "rejected", pieces?.[1])));
    if (!pieces) detail.append(make("p", { class: "quiet" }, "These answers are too long to be compared word by word."));
    detail.append(this.lineage(at));
    return detail;
  }

  side(at, answer, name, pieces) {
    const { all, data } = this;
    const { answers, texts } = data;
    const which = name === "chosen" ? 0 : 1;
    const said = [`judge ${figure(answers.score[answer])}`];
    if (all.oracle[at]) {
      const missed = all.missed[at][which];
      said.push(`oracle ${all.oracle[at][which]}${missed.length ? ` (misses ${missed.join(", ")})` : ""}`);
    }
    said.push(counted(answers.tokens[answer], "token") + (answers.truncated[answer] ? ", cut off" : ""));
    const side = make("article", { class: `side ${name}` },
      make("h4", {}, name === "chosen" ? "Chosen" : "Rejected"),
      words(texts[answers.text[answer]], pieces, `${name}-only`),
      make("p", { class: "scores" }, said.join(" · ")));
    if (answers.distribution[answer].length) side.append(this.bars(at, answer));
    if (answers.raw[answer].length) {
      const said = answers.raw[answer].map((text) => words(texts[text]));
      side.append(make("details", {}, make("summary", {}, counted(said.length, "judgment") + " in the judge's words"), ...said));
    }
    return side;
  }

  /** Draw the probabilities that the judge gave to each score. */
  bars(at, answer) {
    const shares = this.data.answers.distribution[answer];
    const low = this.data.sources[this.all.source[at]].scale?.[0] ?? 0;
    const said = shares.map((share, i) => `${low + i}: ${figure(100 * share, 0)} %`).join(", ");
    return make("div", { class: "bars", role: "img", "aria-label": `Probability of each score: ${said}`, title: said },
      ...shares.map((share, i) => {
        const bar = make("i");
        bar.style.height = `${Math.round(36 * share)}px`;
        return make("div", {}, bar, String(low + i));
      }));
  }

  lineage(at) {
    const { all, data } = this;
    const { answers, models, sources, runs } = data;
    const [chosen, rejected] = [all.chosen[at], all.rejected[at]];
    const model = (fingerprint) => `${models[fingerprint] ?? "a model of another run"} (${fingerprint})`;
    const answer = (i) => `${answers.id[i]}, sample ${answers.index[i]}, seed ${answers.seed[i]}, judgment ${answers.judgment[i]}`;
    const mass = (i) => (answers.mass[i] == null ? null : figure(answers.mass[i], 4));
    const facts = [
      ["Pair", all.id[at]],
      ["Prompt", `${all.prompt_id[at]}, from ${all.from[at]}`],
      ["Chosen", answer(chosen)],
      ["Rejected", answer(rejected)],
      ["Written by", model(answers.policy[chosen])],
      ["Judged by", model(answers.judge[chosen])],
      mass(chosen) && ["Mass on the scores", `${mass(chosen)} chosen, ${mass(rejected)} rejected`],
      runs.length > 1 && ["In runs", sources[all.source[at]].runs.map((run) => oneLine(runs[run])).join(", ")],
      ["In the store", `python -m iterdpo.store lineage ${all.id[at]}`],
    ];
    return make("dl", { class: "lineage" }, ...facts.filter(Boolean).flatMap(([name, value]) =>
      [make("dt", {}, name), make("dd", {}, name === "In the store" ? make("code", {}, value) : value)]));
  }
}

/** Return a text as a block, its pieces marked where they are given. */
function words(text, pieces, name) {
  const block = make("p", { class: "words", dir: "auto", tabindex: text.length > 1500 ? 0 : null });
  if (text === "") block.append(make("span", { class: "empty" }, "nothing was written"));
  else if (pieces) appendPieces(block, pieces, name);
  else appendText(block, text);
  return block;
}
