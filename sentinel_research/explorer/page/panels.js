// What a choice does, what was tried before, and what the models write.

import { amount, byId, counted, drawing, element, inWords, percent, signed, significant, whole }
  from "./text.js";

const PLUS_MINUS = "\u00b1";
const waiting = (text = "measuring") => element("span", { class: "waiting" }, text);
const interval = ([middle, low, high]) =>
  `${middle.toFixed(2)}\u00d7 [${low.toFixed(2)}, ${high.toFixed(2)}]`;

export const metricInWords = (metric) => metric.replaceAll("_", " ");

function bars(predicted, loss) {
  const most = Math.max(Math.abs(predicted.total), Math.abs(loss?.gained ?? 0), 1e-9);
  const bar = (name, value, text) => [
    element("span", {}, name),
    element("meter", { min: 0, max: most, value: Math.max(0, value), "aria-hidden": true }),
    element("span", {}, text),
  ];
  return element("div", { class: "bars" },
    ...bar("predicted", predicted.total, signed(predicted.total, 4)),
    ...(loss === undefined
      ? [element("span", {}, "measured"), waiting(), element("span")]
      : bar("measured", loss.gained, signed(loss.gained, 4))));
}

function fell(now, before, text) {
  const share = now / before - 1;
  return element("dd", {}, element("span", { class: "was" }, `${text(before)} \u2192 `), text(now),
    ` (${signed(100 * share, 1)} %)`);
}

function quality(state, task) {
  const before = state.whole.quality;
  const now = state.removed.length ? state.measured.quality : before;
  const error = (one) => (one.error === null ? "" : ` ${PLUS_MINUS} ${significant(one.error, 2)}`);
  if (before === undefined) return [element("dt", {}, task), element("dd", {}, waiting())];
  const shown = [element("span", {}, `${significant(before.value)}${error(before)}`)];
  if (state.removed.length) {
    shown[0].className = "was";
    shown.push(" \u2192 ", now === undefined ? waiting()
      : element("strong", {}, `${significant(now.value)}${error(now)}`));
  }
  return [element("dt", {}, `${metricInWords(before.metric)}`), element("dd", {}, ...shown)];
}

export function showEffect(state, facts) {
  const { predicted, expected, measured, whole: dense } = state;
  const place = byId("effect");
  const isWhole = state.removed.length === 0;
  byId("effect-title").textContent = isWhole ? "The whole model"
    : `Without ${counted(state.counts)}`;
  const isReady = dense.quality && (isWhole || (measured.loss && measured.speed));
  place.setAttribute("aria-busy", String(!isReady));
  const rows = [
    ...quality(state, facts.tasks[0]),
    element("dt", {}, "parameters"),
    isWhole ? element("dd", {}, whole(dense.size.parameters))
      : fell(expected.parameters, dense.size.parameters, whole),
    element("dt", {}, "FLOPs per token"),
    isWhole ? element("dd", {}, amount(dense.size.flops_per_token))
      : fell(expected.flops_per_token, dense.size.flops_per_token, amount),
  ];
  // as fast as the whole model
  for (const [phase, name] of [["prefill", "speed, reading"], ["decode", "speed, writing"]]) {
    if (isWhole) break;
    rows.push(element("dt", {}, name), element("dd", {}, measured.speed === undefined
      ? waiting() : `${interval(measured.speed[phase])}`));
  }
  const head = isWhole
    ? [element("div", { class: "big" }, significant(facts.loss)),
      element("div", { class: "unit" }, `nats per token of ${facts.text.source}`)]
    : [element("div", { class: "big" }, signed(predicted.total)),
      element("div", { class: "unit" }, "nats per token, predicted: "
        + `${signed(predicted.alone)} one by one, ${signed(predicted.pairs)} together`
        + (predicted.neurons === 0 ? "" : `, ${signed(predicted.neurons)} neurons`)),
      bars(predicted, measured.loss),
      element("div", { class: "unit" }, measured.loss === undefined ? "\u00a0"
        : `the prediction is off by ${signed(predicted.total - measured.loss.gained, 4)}; `
          + `measured ${PLUS_MINUS} ${significant(measured.loss.error, 2)}`)];
  place.replaceChildren(...head, element("dl", {}, ...rows));
}

export function showTried(state, restore) {
  const rows = state.tried.toReversed().map((row) => element("tr",
    { "aria-current": String(row.number === current(state)) },
    element("td", {}, element("button", { type: "button",
      onclick: () => restore(row.number), title: counted(row.counts) }, counted(row.counts, true))),
    element("td", {}, signed(row.predicted)),
    element("td", {}, row.loss === null ? "\u2013" : signed(row.loss.gained)),
    element("td", {}, row.quality === null ? "\u2013" : significant(row.quality.value)),
    element("td", {}, percent(row.parameters / state.whole.size.parameters, 0))));
  const metric = state.whole.quality ? metricInWords(state.whole.quality.metric) : "measured";
  const names = ["without", "predicted", "loss", metric.replace(/^\w+ (?=perplexity)/, ""), "size"];
  byId("tried").replaceChildren(...(rows.length === 0
    ? [element("caption", { class: "note" }, "Nothing yet.")]
    : [element("thead", {}, element("tr", {}, ...names.map((name) =>
      element("th", { scope: "col" }, name)))), element("tbody", {}, ...rows)]));
  chart(state, restore);
}

const current = (state) => state.tried.findLast((row) => row.is_current)?.number;

function chart(state, restore) {
  const place = byId("chart");
  const points = state.tried.filter((row) => row.quality !== null)
    .map((row) => ({ x: row.parameters / state.whole.size.parameters, y: row.quality.value, row }));
  if (points.length === 0 || !state.whole.quality) {
    place.replaceChildren();
    return;
  }
  const dense = { x: 1, y: state.whole.quality.value, row: null };
  const all = [...points, dense];
  const [low, high] = [Math.min(...all.map(({ y }) => y)), Math.max(...all.map(({ y }) => y))];
  const left = Math.min(...all.map(({ x }) => x));
  const [width, height, edge] = [320, 150, 34];
  const across = (x) => edge + ((x - left) / (1 - left || 1)) * (width - edge - 12);
  const up = (y) => height - 24 - ((y - low) / (high - low || 1)) * (height - 40);
  const dots = all.map(({ x, y, row }) => {
    const kind = row === null ? "whole" : row.number === current(state) ? "now" : "";
    const text = row === null ? "the whole model" : `without ${counted(row.counts)}`;
    const dot = drawing("circle", { cx: across(x), cy: up(y), r: kind === "now" ? 5 : 4,
      class: kind }, drawing("title", {}, `${text}: ${significant(y)}`));
    if (row !== null) dot.addEventListener("click", () => restore(row.number));
    return dot;
  });
  place.replaceChildren(drawing("svg", { viewBox: `0 0 ${width} ${height}`, role: "img",
    "aria-label": `${metricInWords(state.whole.quality.metric)} by parameters left, `
      + `${points.length} choices; the table below has the numbers` },
  drawing("line", { x1: edge, x2: width - 8, y1: height - 18, y2: height - 18 }),
  drawing("line", { x1: edge, x2: edge, y1: 8, y2: height - 18 }),
  drawing("text", { x: 2, y: up(high) + 4 }, significant(high, 3)),
  drawing("text", { x: 2, y: up(low) + 4 }, significant(low, 3)),
  drawing("text", { x: edge, y: height - 4 }, percent(left)),
  drawing("text", { x: width - 8, y: height - 4, "text-anchor": "end" }, "100 % of parameters"),
  ...dots));
}

// what both texts begin with is plain, where they part is marked
export function showTexts(state) {
  const { whole: one, pruned: other } = state.texts;
  let same = 0;
  if (one !== null && other !== null) {
    while (same < Math.min(one.length, other.length) && one[same] === other[same]) same += 1;
  }
  for (const [id, text] of [["text-whole", one], ["text-pruned", other]]) {
    const place = byId(id);
    if (state.prompt === null) place.replaceChildren();
    else if (text === null) place.replaceChildren(waiting("writing"));
    else {
      const isBoth = one !== null && other !== null;
      place.replaceChildren(element("span", { class: "prompt" }, state.prompt.text),
        isBoth ? text.slice(0, same) : text,
        ...(isBoth && same < text.length ? [element("mark", {}, text.slice(same))] : []));
    }
  }
  byId("pruned-caption").textContent = state.removed.length === 0
    ? "Without the chosen units (none is chosen)" : `Without ${counted(state.counts)}`;
}

export function explain(facts) {
  const { text } = facts;
  const own = facts.is_measured
    ? "Every head and block was taken out alone and the loss measured (leave-one-out, Michel et al. "
      + "2019). For each pair the change of the one's gate gradient when the other is gone is added: "
      + "the off-diagonal term of the second-order expansion (Hassibi and Stork 1992). "
    : "Nothing was taken out alone: heads and blocks are estimated to second order from one pass, "
      + "by gradients and the empirical Fisher information of their gates (Molchanov et al. 2019). ";
  const lines = [
    `Predicted: ${own}A neuron counts with minus its gradient plus half of T times the squared one, `
      + "T being the tokens of a sequence (empirical Fisher), and with what heads and blocks change "
      + "of its gradient. It is an expansion around the whole model, and falls short where much "
      + "goes at once; its error stands below it as soon as the loss is measured.",
    `Measured loss: the same ${text.num_sequences} sequences of ${text.sequence_length} tokens of `
      + `${text.source}, with the gates at 0; the error is over sequences.`,
    `Perplexity: ${facts.tasks.join(", ")}${facts.limit ? `, the first ${facts.limit} documents`
      : ""}, through lm-eval, of the model from which the units were removed: what sentinel run `
      + "prints for the exported plan.",
    "Parameters and FLOPs follow from the plan and are checked against the model when the units "
      + "are removed. Speed: in turns with the whole model, the median of the ratios with its exact "
      + "interval, by processor time on a CPU.",
    `Units are taken out of ${inWords("head")}, ${inWords("neuron")} and blocks; a KV group goes `
      + "with its last head.",
    facts.synthetic_data ? "The text is the package's synthetic language, not natural language: "
      + "name another with --corpus." : null,
  ];
  byId("explained").replaceChildren(...lines.filter((line) => line !== null)
    .map((line) => element("p", {}, line)));
}
