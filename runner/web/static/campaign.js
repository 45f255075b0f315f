// One campaign: how it stands, its runs, and what can be done about it.

import { arrange, byId, clock, count, duration, element, set, show } from "./dom.js";
import { standing, statusOf } from "./campaigns.js";
import * as log from "./log.js";
import * as timeline from "./timeline.js";

const PAGE = 50;

let id = "";
let title = null;
let runs = []; // [number, variables]
let bars = new Map(); // "run.attempt" → bar
let latest = new Map(); // run → its latest bar
let variables = new Map(); // run → its variables
let page = 0;
let opened = ""; // the stream whose log is shown
let headTime = 0;
let person = "";
let order = async () => {};
let ticking = 0;
let drawing = 0;

export function begin(me, orders) {
  person = me;
  order = orders;
}

/** Show a campaign, and perhaps the log of one of its runs or of its build. */
export function open(campaign, stream) {
  if (campaign !== id) {
    id = campaign;
    title = null;
    runs = [];
    bars = new Map();
    latest = new Map();
    variables = new Map();
    timeline.take([], true);
    page = 0;
    draw();
  }
  byId("build-log").href = `#/c/${id}/build`;
  byId("close-run").href = `#/c/${id}`;
  if (stream !== opened) {
    opened = stream;
    byId("run").hidden = !stream;
    forgetFiles();
    if (stream) {
      log.open(id, stream);
      drawRun();
      byId("run-title").focus();
    } else log.close();
  }
}

export function close() {
  id = "";
  opened = "";
  byId("run").hidden = true;
  log.close();
}

/** Take what was told of the campaign that is shown. */
export function take(told) {
  if (told.everything) {
    bars = new Map();
    latest = new Map();
    runs = told.runs;
    variables = new Map(runs);
  }
  timeline.take(told.bars, told.everything);
  title = told.title ?? title;
  for (const bar of told.bars) {
    bars.set(`${bar[0]}.${bar[1]}`, bar);
    const before = latest.get(bar[0]);
    if (!before || before[1] <= bar[1]) latest.set(bar[0], bar);
  }
  if (!drawing) drawing = requestAnimationFrame(draw); // what comes until then is drawn, too
}

/** Take note of the head's clock, and that the list of campaigns may say something else. */
export function note(time) {
  headTime = time;
  if (id) drawHead();
}

function draw() {
  drawing = 0;
  if (!id) return;
  drawHead();
  drawRuns();
  drawRun();
  timeline.draw(headTime);
  clearTimeout(ticking);
  if (title && title.ended === null) ticking = setTimeout(draw, 1000); // bars of what runs grow
}

function drawHead() {
  const status = statusOf(id);
  show(byId("campaign-title"), title ? `${title.name} ${title.config}` : "…");
  if (!title) {
    for (const part of ["about", "state", "reason"]) show(byId(`campaign-${part}`), "");
    for (const button of ["cancel", "resume", "build-log"]) byId(button).hidden = true;
    return;
  }
  const about = [title.user, title.id, `submitted ${clock(title.submitted)}`, title.mode, `commit ${title.commit.slice(0, 10)}`];
  if (title.run_filter) about.push(`runs ${title.run_filter}`);
  show(byId("campaign-about"), about.join(" · "));
  show(byId("campaign-state"), status ? `${status.phase}: ${standing(status) || "nothing has begun"}` : ended());
  const reason = [title.reason, title.build && `building ${title.build}`, status?.waiting].filter(Boolean).join("\n");
  show(byId("campaign-reason"), reason);
  byId("campaign-reason").hidden = !reason;
  const mine = title.user === person;
  const undone = [...latest.values()].some((bar) => bar[6] !== "done") || latest.size < runs.length || !title.is_prepared;
  byId("cancel").hidden = !mine || title.ended !== null || (status?.phase ?? "") === "cancelled";
  byId("resume").hidden = !mine || title.ended === null || !undone;
  byId("build-log").hidden = false;
}

function ended() {
  const kinds = {};
  for (const bar of latest.values()) kinds[bar[6]] = (kinds[bar[6]] ?? 0) + 1;
  const parts = Object.entries(kinds).map(([kind, number]) => `${number} ${kind}`);
  return `${title.ended === null ? "under way" : "ended"}: ${count(runs.length, "run")}, ${parts.join(", ") || "none has begun"}`;
}

// ---- runs ----

const stateOf = (number) => latest.get(number)?.[6] ?? "waiting";

function chosen() {
  const which = byId("which-runs").value;
  if (which === "all") return runs;
  return runs.filter(([number]) => {
    const state = stateOf(number);
    return which === "waiting" ? state === "waiting" : timeline.kindOf(state) === which;
  });
}

function drawRuns() {
  const some = chosen();
  page = Math.max(0, Math.min(page, Math.ceil(some.length / PAGE) - 1));
  const shown = some.slice(page * PAGE, (page + 1) * PAGE);
  show(byId("runs-shown"), some.length ? `${page * PAGE + 1} to ${page * PAGE + shown.length} of ${some.length}` : "none");
  byId("earlier").disabled = page === 0;
  byId("later").disabled = (page + 1) * PAGE >= some.length;
  const table = byId("runs");
  while (table.rows.length < shown.length) table.append(emptyRow());
  arrange(table, [...table.rows].slice(0, shown.length));
  shown.forEach((run, index) => drawRow(table.rows[index], run));
}

function emptyRow() {
  const row = element("tr", {}, element("th", { scope: "row" }, element("a")));
  for (let cell = 0; cell < 5; cell += 1) row.append(element("td"));
  return row;
}

function drawRow(row, [number, values]) {
  const bar = latest.get(number);
  const [first, state, where, time, its, error] = row.cells;
  const link = first.firstChild;
  show(link, `#${number}`);
  if (bar) set(link, "href", `${location.origin}/#/c/${id}/run/${number}.${bar[1]}`);
  else link.removeAttribute("href");
  const kind = bar ? bar[6] : "waiting";
  show(state, bar && bar[1] > 1 ? `${kind} (attempt ${bar[1]})` : kind);
  set(state, "className", `k-${bar ? timeline.kindOf(kind) : "waiting"}`);
  show(where, bar ? `${bar[2]} ${bar[3]}` : "");
  show(time, bar ? (bar[5] === null ? `since ${clock(bar[4])}` : duration(bar[5] - bar[4])) : "");
  show(its, values);
  show(error, bar?.[7] ?? "");
}

// ---- a run ----

let asked = ""; // the results that are shown or on their way

function drawRun() {
  if (!opened) return;
  if (opened === "build") {
    show(byId("run-title"), "Build");
    show(byId("run-about"), "");
    return;
  }
  const [run, attempt] = opened.slice(4).split(".").map(Number);
  const bar = bars.get(`${run}.${attempt}`);
  show(byId("run-title"), `Run #${run}${attempt > 1 ? `, attempt ${attempt}` : ""}`);
  const about = bar ? [bar[6], `${bar[2]} ${bar[3]}`, `began ${clock(bar[4])}`] : ["has not begun, or the lab knows nothing of it"];
  if (bar && bar[5] !== null) about.push(`took ${duration(bar[5] - bar[4])}`);
  if (variables.get(run)) about.push(variables.get(run));
  if (bar?.[7]) about.push(bar[7]);
  show(byId("run-about"), about.join(" · "));
  const last = latest.get(run);
  if (last && last[5] !== null) showFiles(run, attempt, last);
  else forgetFiles(); // a run that goes on has no results
}

function forgetFiles() {
  asked = "";
  byId("files").replaceChildren();
}

/** Show the results of a run whose latest attempt has ended; whatever the answer, they are asked for once. */
async function showFiles(run, attempt, last) {
  const wanted = `${id} ${opened} ${last[1]} ${last[5]}`;
  if (wanted === asked) return;
  asked = wanted;
  try {
    const { draw: drawFiles } = await import("./files.js");
    const nodes = await drawFiles(id, run, attempt);
    if (wanted === asked) byId("files").replaceChildren(...nodes);
  } catch {
    if (wanted === asked) asked = ""; // the lab was not reached: what is drawn next asks again
  }
}

// ---- what a person does ----

byId("which-runs").addEventListener("change", () => {
  page = 0;
  drawRuns();
});
byId("earlier").addEventListener("click", () => {
  page -= 1;
  drawRuns();
});
byId("later").addEventListener("click", () => {
  page += 1;
  drawRuns();
});
byId("cancel").addEventListener("click", () => byId("sure").showModal());
byId("sure-no").addEventListener("click", () => byId("sure").close());
byId("sure-yes").addEventListener("click", () => {
  byId("sure").close();
  order(`/campaigns/${id}/cancel`);
});
byId("resume").addEventListener("click", () => order(`/campaigns/${id}/resume`));
