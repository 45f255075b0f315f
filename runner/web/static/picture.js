// The lab as a picture: machines, their slots, and what runs there.

import { arrange, byId, bytes, count, element, rate, set, show } from "./dom.js";

const order = new Intl.Collator(undefined, { numeric: true });
const cards = new Map(); // name → what is drawn of a machine
const machines = new Map(); // name → what was told of it last

/** Take what was told of machines; `everything`: there are no others. */
export function take(told, gone, everything, titleOf) {
  if (everything) machines.clear();
  for (const machine of told) machines.set(machine.name, machine);
  for (const name of gone) machines.delete(name);
  const names = [...machines.keys()].sort(order.compare);
  const isDense = summarize();
  for (const name of cards.keys()) if (!machines.has(name)) cards.delete(name);
  const changed = everything ? names : told.map((machine) => machine.name);
  for (const name of changed) if (machines.has(name)) draw(machines.get(name), titleOf, isDense);
  arrange(byId("machines"), names.map((name) => cards.get(name).node));
}

/** Say what there is in all; return whether that is so much that only the most important is shown of each slot. */
function summarize() {
  let slots = 0;
  let busy = 0;
  const states = {};
  for (const machine of machines.values()) {
    slots += machine.slots;
    busy += machine.runs.filter((run) => run.slot !== "builder").length;
    states[machine.state] = (states[machine.state] ?? 0) + 1;
  }
  const parts = Object.entries(states).map(([state, number]) => `${number} ${state}`);
  const text = machines.size ? `${count(machines.size, "machine")} (${parts.join(", ")}); ${busy} of ${count(slots, "slot")} busy` : "No machine has told of itself.";
  show(byId("machines-summary"), text);
  return byId("machines").classList.toggle("dense", slots > 200);
}

function draw(machine, titleOf, isDense) {
  let card = cards.get(machine.name);
  if (!card) cards.set(machine.name, (card = empty(machine.name)));
  set(card.node, "data-state", machine.state);
  show(card.state, machine.state);
  show(card.reason, machine.reason);
  set(card.reason, "hidden", !machine.reason);
  const facts = [`load ${machine.load.toFixed(1)}`];
  if (machine.memory_total) facts.push(`${bytes(machine.memory_free)} of ${bytes(machine.memory_total)} memory free`);
  if (machine.disk_total) facts.push(`${bytes(machine.disk_free)} disk free`);
  show(card.facts, facts.join(" · "));
  const running = new Map(machine.runs.map((run) => [run.slot, run]));
  const slots = Array.from({ length: machine.slots }, (_, index) => `slot${index + 1}`);
  for (const name of running.keys()) if (!slots.includes(name)) slots.push(name);
  for (const name of card.slots.keys()) if (!slots.includes(name)) card.slots.delete(name);
  for (const name of slots) drawSlot(card, name, running.get(name), machine.state, titleOf, isDense);
  arrange(card.list, slots.map((name) => card.slots.get(name).node));
}

function empty(name) {
  const card = {
    state: element("span", { className: "state" }),
    reason: element("p", { className: "reason" }),
    facts: element("p", { className: "facts" }),
    list: element("ul", { className: "slots", aria: { label: `Slots of ${name}` } }),
    slots: new Map(),
  };
  const heading = element("h3", {}, element("span", { textContent: name }), " ", card.state);
  card.node = element("li", { className: "machine" }, heading, card.reason, card.facts, card.list);
  return card;
}

function drawSlot(card, name, run, state, titleOf, isDense) {
  let slot = card.slots.get(name);
  if (!slot) {
    slot = { what: element("span", { className: "what" }), how: element("span", { className: "how" }), bar: element("span", { className: "bar", aria: { hidden: "true" } }) };
    slot.link = element("a", { className: "slot" }, element("span", { className: "name", textContent: `${name} ` }), slot.what, " ", slot.how, slot.bar);
    slot.node = element("li", {}, slot.link);
    card.slots.set(name, slot);
  }
  set(slot.link, "data-busy", run ? "yes" : "no");
  if (!run) {
    slot.link.removeAttribute("href");
    show(slot.what, state === "ready" ? "idle" : state);
    show(slot.how, "");
    slot.bar.style.inlineSize = "0";
    return;
  }
  set(slot.link, "href", `${location.origin}/#/c/${run.campaign}/run/${run.run}.${run.attempt}`);
  show(slot.what, `${titleOf(run.campaign)} #${run.run}`);
  const how = [];
  if (run.percent !== null) how.push(`${Math.floor(run.percent)} %`);
  if (run.events_per_second !== null && !isDense) how.push(`${rate(run.events_per_second)} ev/s`);
  if (run.memory && !isDense) how.push(bytes(run.memory));
  show(slot.how, how.join(" · ") || "running");
  slot.bar.style.inlineSize = `${run.percent ?? 0}%`;
}
