// The map of heads and blocks, layer by layer, and the neurons of one layer.
// Every unit is a button; one of them can be reached by tab, the others by the arrow keys.

import { brief, byId, element, expanded, signed, significant, unitInWords, whole } from "./text.js";

const DARK = window.matchMedia("(prefers-color-scheme: dark)");
// from nothing to most; as light to dark on paper, as dark to light at night
const RAMPS = {
  light: [[243, 240, 247], [222, 186, 214], [196, 98, 150], [122, 32, 122], [50, 11, 92]],
  dark: [[38, 38, 50], [84, 40, 104], [163, 50, 110], [238, 112, 92], [255, 205, 140]],
};
const HELPS = { light: [[240, 246, 244], [8, 110, 90]], dark: [[34, 46, 46], [95, 211, 179]] };

function mixed(ramp, share) {
  const place = Math.min(1, Math.max(0, share)) * (ramp.length - 1);
  const from = Math.min(ramp.length - 2, Math.floor(place));
  return ramp[from].map((value, at) => value + (ramp[from + 1][at] - value) * (place - from));
}

function luminance(colour) {
  const linear = colour.map((value) => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
}

function paint(node, share) {
  const theme = DARK.matches ? "dark" : "light";
  const colour = mixed(share < 0 ? HELPS[theme] : RAMPS[theme], Math.abs(share)).map(Math.round);
  node.style.setProperty("--fill", `rgb(${colour.join(" ")})`);
  // the one of both inks that is told better from it: at least 4.5 to 1
  node.style.setProperty("--on-fill", luminance(colour) > 0.179 ? "#000" : "#fff");
}

// small differences among small scores are seen too
const spread = (value, most) => (most > 0 ? Math.sign(value) * Math.sqrt(Math.abs(value) / most) : 0);

export class Grid {
  // place: an element; rows: buttons in rows; moved: told which button is looked at
  constructor(place, toggled, moved) {
    this.place = place;
    this.rows = [];
    place.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button !== null) toggled(button);
    });
    place.addEventListener("keydown", (event) => this.move(event));
    place.addEventListener("focusin", (event) => this.look(event.target, moved));
    place.addEventListener("pointerover", (event) => {
      const button = event.target.closest("button");
      if (button !== null) moved(button);
    });
  }

  fill(rows, lines) {
    this.rows = rows;
    this.place.replaceChildren(...lines);
    for (const button of rows.flat()) button.tabIndex = -1;
    const first = rows.flat()[0];
    if (first !== undefined) first.tabIndex = 0;
  }

  look(button, moved) {
    for (const other of this.rows.flat()) if (other.tabIndex === 0) other.tabIndex = -1;
    button.tabIndex = 0;
    moved(button);
  }

  // rows of a grid that wraps are as long as they are shown
  shown() {
    if (this.rows.length !== 1) return this.rows;
    const found = [];
    let top = null;
    for (const button of this.rows[0]) {
      if (button.offsetTop !== top) {
        found.push([]);
        top = button.offsetTop;
      }
      found.at(-1).push(button);
    }
    return found;
  }

  move(event) {
    const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const rows = this.shown();
    const row = rows.findIndex((one) => one.includes(event.target));
    if (row < 0) return;
    const column = rows[row].indexOf(event.target);
    let aim = null;
    if (event.key in steps) {
      const [down, right] = steps[event.key];
      const line = rows[Math.min(rows.length - 1, Math.max(0, row + down))];
      aim = line[Math.min(line.length - 1, Math.max(0, column + right))];
    } else if (event.key === "Home") aim = rows[row][0];
    else if (event.key === "End") aim = rows[row].at(-1);
    if (aim === null) return;
    event.preventDefault();
    aim.focus();
  }
}

const unitsOf = (layer, index) => layer.heads.map((head) => `L${index}H${head}`);

export class HeadMap {
  constructor(facts, { toggle, openNeurons }) {
    this.facts = facts;
    this.buttons = new Map();
    this.rails = new Map();
    this.strips = [];
    this.values = new Map();
    this.grid = new Grid(byId("map"), (button) => {
      if (button.dataset.neurons !== undefined) openNeurons(Number(button.dataset.neurons));
      else toggle(button.dataset.units.split(" "));
    }, (button) => this.detail(button));
    const most = Math.max(1, ...facts.layers.map((layer) => layer.heads.length));
    this.grid.place.style.setProperty("--heads", String(most));
    const rows = facts.layers.map((layer, index) => this.row(layer, index));
    this.grid.fill(rows.map((row) => row.buttons), rows.map((row) => row.line));
    DARK.addEventListener("change", () => this.colour());
  }

  row(layer, index) {
    const blocks = [["attention", layer.has_attention], ["ffn", layer.has_ffn]]
      .filter(([, there]) => there).map(([kind]) => kind);
    const rail = element("button", { type: "button", class: "rail", "aria-pressed": "false",
      "data-units": blocks.map((kind) => `L${index}.${kind}`).join(" "),
      "aria-label": `layer ${index}, all of it` }, `L${index}`);
    this.rails.set(index, rail);
    const heads = unitsOf(layer, index).map((name) => this.button(name, "cell", element("span")));
    const others = blocks.map((kind) => this.button(`L${index}.${kind}`, "block",
      kind === "attention" ? "attention" : "feed-forward"));
    const strip = layer.num_neurons === 0 ? null : element("button",
      { type: "button", class: "strip", "data-neurons": index });
    this.strips.push(strip);
    const buttons = [...(blocks.length ? [rail] : []), ...heads, ...others, strip]
      .filter((one) => one !== null);
    const line = element("div", { class: "layer" }, rail, ...heads,
      element("span", { class: "gap" }), ...others, strip);
    return { buttons, line };
  }

  button(name, kind, label) {
    const found = element("button", { type: "button", class: kind, "data-units": name,
      "aria-pressed": "false" }, label);
    this.buttons.set(name, found);
    return found;
  }

  // what was chosen
  show(names) {
    const gone = expanded(names);
    this.gone = gone;
    for (const [name, button] of this.buttons) {
      const layer = /^L(\d+)/.exec(name)[1];
      button.setAttribute("aria-pressed", String(gone.has(name)));
      button.classList.toggle("under", name.includes("H") && gone.has(`L${layer}.attention`));
      this.label(name);
    }
    for (const [index, rail] of this.rails) {
      const parts = rail.dataset.units.split(" ");
      rail.setAttribute("aria-pressed", String(parts.every((name) => gone.has(name))));
    }
    this.facts.layers.forEach((layer, index) => this.count(layer, index, gone));
  }

  count(layer, index, gone) {
    const strip = this.strips[index];
    if (strip === null) return;
    const start = `L${index}N`;
    const out = [...gone].filter((name) => name.startsWith(start)).length;
    const left = gone.has(`L${index}.ffn`) ? 0 : layer.num_neurons - out;
    strip.setAttribute("aria-label",
      `neurons of layer ${index}: ${left} of ${layer.num_neurons} stay`);
    strip.replaceChildren(`${whole(left)} neurons`,
      element("progress", { max: layer.num_neurons, value: left, "aria-hidden": true }));
  }

  // scores: kind -> {scorer, values}; groups of heads share a value, layers share their blocks'
  score(scores) {
    this.values.clear();
    const { group_size: group, layers } = this.facts;
    layers.forEach((layer, index) => {
      const groups = [...new Set(layer.heads.map((head) => Math.floor(head / group)))];
      layer.heads.forEach((head, at) => {
        const own = scores.head.by === "kv_group" ? groups.indexOf(Math.floor(head / group)) : at;
        this.note(`L${index}H${head}`, scores.head, index, own);
      });
      for (const kind of ["attention", "ffn"]) {
        if (layer[`has_${kind}`]) this.note(`L${index}.${kind}`, scores[kind], index, 0);
      }
    });
    this.colour();
  }

  note(name, score, index, at) {
    const { scorer, values, errors } = score;
    this.values.set(name, { scorer, value: values[index][at],
      error: errors ? errors[index][at] : null });
    this.label(name);
  }

  colour() {
    for (const part of ["H", "."]) {
      const own = [...this.values].filter(([name]) => name.includes(part));
      const most = Math.max(0, ...own.map(([, { value }]) => Math.abs(value)));
      for (const [name, { value }] of own) paint(this.buttons.get(name), spread(value, most));
      if (part === "H") this.legend(own.map(([, { value }]) => value), most);
    }
  }

  legend(values, most) {
    const least = Math.min(0, ...values);
    const steps = least < 0 ? [-1, -0.5, 0, 0.25, 0.5, 0.75, 1] : [0, 0.25, 0.5, 0.75, 1];
    const ramp = steps.map((share) => {
      const box = element("i");
      paint(box, share);
      return box;
    });
    byId("legend").replaceChildren(
      least < 0 ? "better without" : "matters little",
      element("span", { class: "ramp" }, ...ramp), `most: ${significant(most, 3)}`);
  }

  label(name) {
    const found = this.values.get(name);
    const button = this.buttons.get(name);
    if (found === undefined || button === undefined) return;
    button.setAttribute("aria-label",
      `${unitInWords(name)}, ${found.scorer} ${significant(found.value, 3)}`);
    if (name.includes("H")) button.firstChild.textContent = brief(found.value);
  }

  detail(button) {
    const name = button.dataset.units;
    const place = byId("detail");
    if (name === undefined || name.includes(" ") || !this.values.has(name)) {
      place.textContent = button.getAttribute("aria-label");
      return;
    }
    const { scorer, value, error } = this.values.get(name);
    const same = [...this.values].filter(([other]) => other.includes("H") === name.includes("H"));
    const rank = 1 + same.filter(([, other]) => other.value > value).length;
    const spreadOf = error ? ` \u00b1 ${significant(error, 2)}` : "";
    place.textContent = `${name}: ${scorer} ${scorer === "leave_one_out" ? signed(value, 4)
      : significant(value)}${spreadOf}, ${rank} of ${same.length} by importance`
      + `${this.gone?.has(name) ? ", taken out" : ""}`;
  }

  ranked() {
    return [...this.values].filter(([name]) => name.includes("H"))
      .sort((one, other) => other[1].value - one[1].value).map(([name]) => name);
  }

  focus(name) {
    this.buttons.get(name)?.focus();
  }
}

export class NeuronMap {
  constructor(facts, toggle) {
    this.facts = facts;
    this.layer = null;
    this.gone = new Set();
    this.grid = new Grid(byId("neurons-map"), (button) => toggle([button.dataset.unit]),
      (button) => { byId("neurons-detail").textContent = button.getAttribute("aria-label"); });
  }

  open(index, { scorer, values }) {
    this.layer = index;
    const layer = this.facts.layers[index];
    const own = values[index];
    const most = Math.max(0, ...own.map(Math.abs));
    this.order = own.map((value, at) => [value, at]).sort((one, other) => one[0] - other[0])
      .map(([, at]) => this.name(layer, at));
    this.buttons = own.map((value, at) => {
      const name = this.name(layer, at);
      const button = element("button", { type: "button", class: "dot", "data-unit": name,
        "aria-label": `${unitInWords(name)}, ${scorer} ${significant(value, 3)}` });
      paint(button, spread(value, most));
      return button;
    });
    this.grid.fill([this.buttons], this.buttons);
    byId("neurons-title").textContent = `Neurons of layer ${index}, by ${scorer}`;
    byId("neurons-count").max = String(own.length);
    this.show(this.gone);
  }

  name(layer, at) {
    return `L${this.layer}N${layer.neurons === null ? at : layer.neurons[at]}`;
  }

  show(gone) {
    this.gone = gone;
    if (this.layer === null) return;
    for (const button of this.buttons) {
      button.setAttribute("aria-pressed", String(gone.has(button.dataset.unit)));
    }
  }
}
