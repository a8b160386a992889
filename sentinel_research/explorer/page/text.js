// Elements, numbers and names of units. Text only ever becomes text: nothing here parses HTML.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) {
      node.setAttribute(name, value === true ? "" : String(value));
    }
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

export const element = (tag, attributes = {}, ...children) =>
  filled(document.createElement(tag), attributes, children);

export const drawing = (tag, attributes = {}, ...children) =>
  filled(document.createElementNS(SVG, tag), attributes, children);

// a real minus, and a plus where a change is meant
export function signed(value, digits = 3) {
  const text = Math.abs(value).toFixed(digits);
  return Number(text) === 0 ? text : (value < 0 ? "\u2212" : "+") + text;
}

export function significant(value, digits = 4) {
  if (value === 0) return "0";
  const size = Math.floor(Math.log10(Math.abs(value)));
  return value.toFixed(Math.min(8, Math.max(0, digits - 1 - size)));
}

// for a small cell: .034, 1.2, 340, 2e-5
export function brief(value) {
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.0005 || size >= 10000)) return value.toExponential(0);
  const digits = size >= 100 ? 0 : size >= 1 ? 1 : size >= 0.01 ? 3 : 4;
  return value.toFixed(digits).replace(/^(-?)0\./, "$1.");
}

export const whole = (value) => Math.round(value).toLocaleString("en");

export function amount(value) {
  for (const [size, letter] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (value >= size) return `${(value / size).toPrecision(3)} ${letter}`;
  }
  return whole(value);
}

export const percent = (share, digits = 1) =>
  `${(100 * share).toFixed(digits).replace("-", "\u2212")} %`;

const NAMES = { head: "head", neuron: "neuron", attention: "attention block",
  ffn: "feed-forward block" };
const SHORT = { head: "head", neuron: "neuron", attention: "attn", ffn: "ffn" };

export const inWords = (kind) => ({ kv_group: "KV groups", head: "heads", neuron: "neurons",
  attention: "attention blocks", ffn: "feed-forward blocks", layer: "layers" })[kind];

// "5 heads, 1 attention block"
export function counted(counts, isShort = false) {
  const parts = ["head", "neuron", "attention", "ffn"].filter((kind) => kind in counts)
    .map((kind) => {
      const [count, names] = [counts[kind], isShort ? SHORT : NAMES];
      const isPlural = count !== 1 && !(isShort && kind !== "head" && kind !== "neuron");
      return `${whole(count)} ${names[kind]}${isPlural ? "s" : ""}`;
    });
  return parts.join(isShort ? " + " : ", ");
}

// names as the server writes them, one by one: L0H1-2 is L0H1 and L0H2
export function expanded(names) {
  const found = new Set();
  for (const name of names) {
    const range = /^(L\d+[HN])(\d+)-(\d+)$/.exec(name);
    if (range === null) found.add(name);
    else {
      for (let unit = Number(range[2]); unit <= Number(range[3]); unit += 1) {
        found.add(range[1] + unit);
      }
    }
  }
  return found;
}

export function unitInWords(name) {
  const [, layer, letter, unit, block] = /^L(\d+)(?:([HN])(\d+)|\.(\w+))$/.exec(name);
  if (block !== undefined) return `layer ${layer}, ${NAMES[block]}`;
  return `layer ${layer}, ${letter === "H" ? "head" : "neuron"} ${unit}`;
}
