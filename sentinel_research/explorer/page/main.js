// The page: asks the server, shows what it answers, and sends what a person does.

import { HeadMap, NeuronMap } from "./map.js";
import { explain, showEffect, showTexts, showTried } from "./panels.js";
import { byId, element, inWords } from "./text.js";

let facts = null;
let state = null;
let map = null;
let neurons = null;
let seed = 0;
let refusal = "";
const oracles = {};

// what was refused stays until the next try, whatever is measured meanwhile
function complain(text) {
  refusal = text;
  showProblem();
}

function showProblem() {
  const text = refusal || (state?.problem ?? "");
  byId("problem").hidden = text === "";
  byId("problem").textContent = text;
}

async function ask(path, body) {
  const options = body === undefined ? {} : { method: "POST",
    headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    complain("The explorer does not answer: was it ended in its terminal? Start it again there.");
    return null;
  }
  const found = await answer.json();
  if (!answer.ok) {
    complain(found.problem ?? `${answer.status} ${answer.statusText}`);
    return null;
  }
  return found;
}

async function change(path, body = {}) {
  refusal = "";
  const found = await ask(path, body);
  if (found !== null) show(found);
  return found !== null;
}

// answers can overtake each other: the newest one counts
function show(found) {
  if (state !== null && found.revision < state.revision) return;
  state = found;
  showProblem();
  map.show(state.removed);
  neurons.show(map.gone);
  showEffect(state, facts);
  showTried(state, (number) => change("restore", { number }));
  showTexts(state);
  byId("undo").disabled = !state.can_undo;
  byId("redo").disabled = !state.can_redo;
  const isWhole = state.removed.length === 0;
  byId("reset").disabled = isWhole;
  byId("export").disabled = isWhole;
  if (state.asked === null && document.activeElement !== byId("fraction")) setShare(0);
}

function setShare(value) {
  byId("fraction").value = String(value);
  byId("share").textContent = `${value} %`;
}

const selected = (id) => byId(id).value;

async function scoresOf(kind, scorer) {
  const found = await ask(`scores?scorer=${encodeURIComponent(scorer)}&kind=${kind}&seed=${seed}`);
  return found === null ? null : { ...found, scorer, by: kind };
}

// the kind that is chosen from is coloured by the chosen scorer, the others as before
async function colour() {
  const [kind, scorer] = [selected("kind"), selected("scorer")];
  byId("summary").textContent = facts.summaries[scorer];
  byId("draw").hidden = scorer !== "random";
  const shown = { ...oracles };
  if (kind !== "neuron") {
    const own = await scoresOf(kind, scorer);
    if (own === null) return;
    if (kind === "kv_group") shown.head = own;
    else if (kind === "layer") Object.assign(shown, { attention: own, ffn: own });
    else shown[kind] = own;
  }
  map.score(shown);
  showRanks();
  if (neurons.layer !== null) openNeurons(neurons.layer);
}

function showRanks() {
  const ranked = map.ranked();
  const chip = (name) => element("button", { type: "button", onclick: () => map.focus(name) }, name);
  const least = ranked.slice(5).slice(-3).reverse();
  byId("ranks").replaceChildren("Matter most: ", ...ranked.slice(0, 5).map(chip),
    ...(least.length ? [" least: ", ...least.map(chip)] : []));
}

async function openNeurons(layer) {
  const scorer = selected("kind") === "neuron" ? selected("scorer") : "fisher";
  const found = await scoresOf("neuron", scorer);
  if (found === null) return;
  const isNew = byId("neurons").hidden || neurons.layer !== layer;
  byId("neurons").hidden = false;
  neurons.open(layer, found);
  // what is typed takes the place of what is there
  if (isNew) byId("neurons-count").select();
}

function closeNeurons() {
  byId("neurons").hidden = true;
  const { layer } = neurons;
  neurons.layer = null;
  map.strips[layer]?.focus();
}

function fillScorers() {
  const kind = selected("kind");
  const names = facts.scorers[kind];
  const before = selected("scorer");
  byId("scorer").replaceChildren(...names.map((name) => element("option", { value: name }, name)));
  const first = names.includes(before) ? before : facts.oracle;
  byId("scorer").value = names.includes(first) && !(kind === "neuron" && first === "leave_one_out")
    ? first : "fisher";
}

function choose() {
  return change("choose", { scorer: selected("scorer"), kind: selected("kind"),
    scope: selected("scope"), fraction: Number(selected("fraction")) / 100, seed });
}

// the last place of a slider that is moved is what counts
let isChoosing = false;
let isStale = false;
async function chooseSoon() {
  byId("share").textContent = `${selected("fraction")} %`;
  if (isChoosing) {
    isStale = true;
    return;
  }
  isChoosing = true;
  do {
    isStale = false;
    await choose();
  } while (isStale);
  isChoosing = false;
}

async function chooseAgain() {
  await colour();
  if (state.asked !== null && Number(selected("fraction")) > 0) await choose();
}

async function save() {
  const answer = await fetch("plan.yaml");
  if (!answer.ok) {
    complain((await answer.json()).problem);
    return;
  }
  const name = /filename="([^"]+)"/.exec(answer.headers.get("content-disposition"))[1];
  const address = URL.createObjectURL(await answer.blob());
  element("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
  byId("exported").replaceChildren("Saved. Run it with ", element("code", {}, `sentinel run ${name}`));
}

function listen() {
  const stream = new EventSource("events");
  let isAsking = false;
  let latest = -1;
  stream.addEventListener("message", async (event) => {
    latest = JSON.parse(event.data).revision;
    if (isAsking) return;
    isAsking = true;
    while (state === null || state.revision < latest) {
      const found = await ask("state");
      if (found === null) break;
      show(found);
    }
    isAsking = false;
  });
}

function wire() {
  byId("undo").addEventListener("click", () => change("undo"));
  byId("redo").addEventListener("click", () => change("redo"));
  byId("reset").addEventListener("click", () => change("show", { units: [] }));
  byId("export").addEventListener("click", save);
  byId("kind").addEventListener("change", () => { fillScorers(); setShare(0); colour(); });
  byId("scorer").addEventListener("change", chooseAgain);
  byId("scope").addEventListener("change", chooseAgain);
  byId("fraction").addEventListener("input", chooseSoon);
  byId("draw").addEventListener("click", () => { seed += 1; chooseAgain(); });
  byId("plans").addEventListener("change", () => {
    const found = facts.plans[Number(selected("plans"))];
    if (found !== undefined) change("show", { units: found.units });
  });
  byId("writing").addEventListener("submit", (event) => {
    event.preventDefault();
    change("write", { text: selected("prompt"), temperature: Number(selected("temperature")),
      num_tokens: Number(selected("tokens")) });
  });
  byId("neurons-close").addEventListener("click", closeNeurons);
  byId("neurons-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const start = `L${neurons.layer}N`;
    const others = state.removed.filter((name) => !name.startsWith(start));
    const least = neurons.order.slice(0, Number(selected("neurons-count")));
    change("show", { units: [...others, ...least] });
  });
  document.addEventListener("keydown", (event) => {
    const isWriting = event.target.matches("textarea, input[type=number]");
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z" && !isWriting) {
      event.preventDefault();
      change(event.shiftKey ? "redo" : "undo");
    } else if (event.key === "Escape" && !byId("neurons").hidden) closeNeurons();
  });
}

function introduce() {
  const { text, layers } = facts;
  document.title = `${facts.name} \u2013 Explorer`;
  byId("name").textContent = facts.name;
  byId("about").textContent = `${facts.family}, ${layers.length} layers of ${facts.num_heads} heads; `
    + `scores from ${text.num_sequences} \u00d7 ${text.sequence_length} tokens of ${text.source}`;
  byId("synthetic").hidden = !facts.synthetic_data;
  byId("kind").replaceChildren(...facts.kinds.map((kind) =>
    element("option", { value: kind }, inWords(kind))));
  byId("plans-label").hidden = facts.plans.length === 0;
  byId("plans").replaceChildren(element("option", { value: "-1" }, "choose \u2026"),
    ...facts.plans.map(({ name }, at) => element("option", { value: String(at) }, name)));
  byId("prompt").value = facts.prompt;
  explain(facts);
  fillScorers();
}

// what another page of this session has chosen by
function recall(asked) {
  byId("kind").value = asked.kind;
  fillScorers();
  byId("scorer").value = asked.scorer;
  byId("scope").value = asked.scope;
  setShare(Math.round(100 * asked.fraction));
  seed = asked.seed;
}

async function start() {
  facts = await ask("facts");
  if (facts === null) return;
  introduce();
  map = new HeadMap(facts, { toggle: (units) => change("toggle", { units }), openNeurons });
  neurons = new NeuronMap(facts, (units) => change("toggle", { units }));
  for (const kind of ["head", "attention", "ffn"].filter((one) => facts.kinds.includes(one))) {
    oracles[kind] = await scoresOf(kind, facts.oracle);
  }
  wire();
  const found = await ask("state");
  if (found.asked !== null) recall(found.asked);
  show(found);
  await colour();
  listen();
  document.body.dataset.ready = "true";
}

start();
