// Which slot ran which run when, drawn for the part that is in view: a lane for each slot.
// It is a picture of what the table of runs says in words.

import { byId, clock, count, duration, show } from "./dom.js";

const LANE = 16;
const GAP = 3;
const AXIS = 20;

const order = new Intl.Collator(undefined, { numeric: true });

let byName = new Map(); // lane → its bars, by run and attempt
let lanes = []; // [name, bars], in order
let isOrdered = true;
let number = 0; // of attempts
let longest = ""; // name of a lane
let first = Infinity; // seconds since the epoch
let last = 0;
let running = 0;
let lag = 0; // of this machine's clock behind the head's
let asked = 0;

const failed = new Set(["error", "crash", "timeout", "stalled", "out-of-memory"]);

/** Return what kind of colour a bar has. */
export const kindOf = (kind) => (kind === "done" || kind === "running" ? kind : failed.has(kind) ? "failed" : "lost");

/** Take bars that are new or otherwise; `everything`: there are no others. */
export function take(bars, everything) {
  if (everything) {
    byName = new Map();
    lanes = [];
    number = running = last = 0;
    first = Infinity;
    longest = "";
  }
  for (const bar of bars) {
    const [run, attempt, host, slot, started, ended] = bar;
    if (!host) continue;
    const name = `${host} ${slot}`;
    let its = byName.get(name);
    if (!its) {
      byName.set(name, (its = new Map()));
      lanes.push([name, its]);
      isOrdered = false;
      if (name.length > longest.length) longest = name;
    }
    const before = its.get(`${run}.${attempt}`);
    its.set(`${run}.${attempt}`, bar);
    number += before ? 0 : 1;
    running += (ended === null ? 1 : 0) - (before && before[5] === null ? 1 : 0);
    first = Math.min(first, started);
    last = Math.max(last, ended ?? started);
  }
}

/** Draw, as soon as the browser draws anyway; `headTime`: what the head's clock said just now. */
export function draw(headTime) {
  lag = headTime ? headTime - Date.now() / 1000 : lag;
  if (!isOrdered) lanes.sort(([one], [other]) => order.compare(one, other));
  isOrdered = true;
  if (running) last = Math.max(last, Date.now() / 1000 + lag);
  const text = lanes.length
    ? `${count(number, "attempt")} on ${count(lanes.length, "slot")}, from ${clock(first)}, over ${duration(last - first)}; ${running} running. The table below says the same in words.`
    : "No run has begun.";
  show(byId("timeline-text"), text);
  byId("timeline").hidden = !lanes.length;
  repaint();
}

function repaint() {
  if (!asked) asked = requestAnimationFrame(paint);
}

const labelWidth = (context) => Math.min(context.measureText(longest).width + 12, byId("timeline").clientWidth * 0.35);

function paint() {
  asked = 0;
  const box = byId("timeline");
  const room = box.firstElementChild;
  const canvas = room.firstElementChild;
  room.style.blockSize = `${lanes.length * LANE + AXIS}px`;
  const width = box.clientWidth;
  const height = Math.min(box.clientHeight, lanes.length * LANE + AXIS);
  const scale = devicePixelRatio;
  canvas.style.inlineSize = `${width}px`;
  canvas.style.blockSize = `${height}px`;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  const style = getComputedStyle(box);
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  const colours = { done: colour("done"), running: colour("running"), failed: colour("failed"), lost: colour("lost") };
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  context.font = `12px ${style.fontFamily}`;
  context.textBaseline = "middle";
  const left = labelWidth(context);
  const perSecond = (width - left - 4) / Math.max(last - first, 1e-3);
  const now = Date.now() / 1000 + lag;
  const from = Math.floor(box.scrollTop / LANE);
  const to = Math.min(lanes.length, Math.ceil((box.scrollTop + height) / LANE));
  for (let index = from; index < to; index += 1) {
    const y = index * LANE - box.scrollTop;
    context.fillStyle = colour("ink");
    const [name, bars] = lanes[index];
    context.fillText(name, 2, y + LANE / 2, left - 6);
    for (const [run, , , , started, ended, kind] of bars.values()) {
      const x = left + (started - first) * perSecond;
      const wide = Math.max(1.5, ((ended ?? Math.max(now, started)) - started) * perSecond);
      context.fillStyle = colours[kindOf(kind)];
      context.fillRect(x, y + GAP / 2, wide > 3 ? wide - 1 : wide, LANE - GAP);
      if (wide > 34) {
        context.fillStyle = colour("on-bar");
        context.fillText(`#${run}${kindOf(kind) === "failed" ? " ✗" : ""}`, x + 4, y + LANE / 2, wide - 6);
      }
    }
  }
  context.fillStyle = colour("paper");
  context.fillRect(0, height - AXIS, width, AXIS);
  context.fillStyle = colour("quiet");
  context.fillText("0 s", left, height - AXIS / 2);
  const end = duration(last - first);
  context.fillText(end, width - context.measureText(end).width - 4, height - AXIS / 2);
}

/** Return the bar below the pointer, if there is one, and the name of its lane. */
function pointed(event) {
  const box = byId("timeline");
  const context = box.querySelector("canvas").getContext("2d");
  const area = box.getBoundingClientRect();
  const left = labelWidth(context);
  const lane = lanes[Math.floor((event.clientY - area.top + box.scrollTop) / LANE)];
  const at = first + ((event.clientX - area.left - left) / (box.clientWidth - left - 4)) * (last - first);
  const now = Date.now() / 1000 + lag;
  const bar = lane && [...lane[1].values()].find(([, , , , started, ended]) => at >= started && at <= (ended ?? now));
  return [bar, lane?.[0]];
}

/** Say what is below the pointer. */
function point(event) {
  const [bar, name] = pointed(event);
  const now = Date.now() / 1000 + lag;
  const text = bar ? `run ${bar[0]}, attempt ${bar[1]}: ${bar[6]}, ${name}, ${duration((bar[5] ?? now) - bar[4])}` : "";
  show(byId("timeline-pointed"), text);
}

byId("timeline").addEventListener("pointermove", point);
byId("timeline").addEventListener("click", (event) => {
  const [bar] = pointed(event);
  if (bar) location.hash = `#/c/${location.hash.split("/")[2]}/run/${bar[0]}.${bar[1]}`;
});
byId("timeline").addEventListener("scroll", repaint);
addEventListener("resize", repaint);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
