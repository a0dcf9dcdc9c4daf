// Text on the page. Nothing here takes HTML: what a model wrote is only ever text content.

/** Characters that a reader would not see, or that turn the text around them. */
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069\ufeff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/gu;

const DASH = "–";

/** Make an element: `make("p", {class: "quiet"}, "text", otherElement)`. */
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value != null) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

/** Write a character as its number, which can be seen. */
function written(character) {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

/** Return a text on one line, with everything unseen written out. */
function oneLine(text) {
  return text.slice(0, 400).replace(/\s+/g, " ").replace(UNSEEN, written);
}

/** Append a text to an element, unseen characters set apart. */
function appendText(element, text) {
  let last = 0;
  for (const found of text.matchAll(UNSEEN)) {
    if (found.index > last) element.append(text.slice(last, found.index));
    element.append(make("span", { class: "unseen" }, written(found[0])));
    last = found.index + found[0].length;
  }
  if (last < text.length) element.append(text.slice(last));
}

/** Return a number with so many decimals, or a dash. */
function figure(value, digits = 2) {
  if (value == null) return DASH;
  return value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits }).replace("-", "−");
}

/** Return `1,200 pairs` or `1 pair`. */
function counted(value, what) {
  return `${value.toLocaleString("en-US")} ${what}${value === 1 ? "" : "s"}`;
}
