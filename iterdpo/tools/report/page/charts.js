// The charts, and their data as tables and files.

/** Draw every chart, one after the other so that the page never hangs. */
async function drawCharts(charts, config) {
  const options = {
    ast: true, // expressions are interpreted: the page's policy forbids making code of text
    renderer: "svg",
    actions: false,
    defaultStyle: false,
    tooltip: { disableDefaultStyle: true },
    config,
  };
  for (const place of document.querySelectorAll("[data-chart]")) {
    const { spec, rows } = charts[place.dataset.chart];
    const filled = { ...spec, datasets: { [spec.data.name]: rows } };
    try {
      await window.vegaEmbed(place, filled, options);
    } catch (error) {
      place.replaceChildren(make("p", { class: "failed" }, "This chart could not be drawn; its data are below."));
      console.error(error);
    }
    await new Promise((go) => setTimeout(go));
  }
}

/** Fill the table under a chart when it is opened for the first time. */
function offerData(charts) {
  for (const details of document.querySelectorAll("details.data")) {
    details.addEventListener("toggle", () => {
      if (!details.open || details.querySelector("table")) return;
      const name = details.dataset.of;
      const { rows } = charts[name];
      const save = make("button", { type: "button", onclick: () => saveAs(`${name}.csv`, asCsv(rows)) }, "Save as CSV");
      details.append(make("div", { class: "tools" }, save), asTable(rows, name));
    });
  }
}

function asTable(rows, name) {
  const keys = Object.keys(rows[0] ?? {});
  const body = rows.map((row) => make("tr", {}, ...keys.map((key) => make("td", {}, shown(row[key])))));
  return make("div", { class: "scroll tall", tabindex: 0, role: "region", "aria-label": `Data of ${name}` },
    make("table", {},
      make("thead", {}, make("tr", {}, ...keys.map((key) => make("th", { scope: "col" }, key)))),
      make("tbody", {}, ...body)));
}

function shown(value) {
  if (value == null) return DASH;
  return typeof value === "number" ? String(Math.round(value * 1e6) / 1e6) : String(value);
}

/** Return rows as CSV (RFC 4180); a text that a spreadsheet would take for a formula is quoted. */
function asCsv(rows) {
  const keys = Object.keys(rows[0] ?? {});
  const field = (value) => {
    if (value == null) return "";
    if (typeof value === "number") return String(value);
    const safe = /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  return [keys, ...rows.map((row) => keys.map((key) => row[key]))].map((line) => line.map(field).join(",")).join("\r\n") + "\r\n";
}

function saveAs(name, text) {
  const address = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
  make("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}
