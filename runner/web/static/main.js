// The page: what its address says is shown, and what the lab tells is passed on.

import * as campaign from "./campaign.js";
import * as campaigns from "./campaigns.js";
import { byId, clock, show } from "./dom.js";
import { listen } from "./feed.js";
import * as picture from "./picture.js";

const SENTENCES = {
  open: "connected",
  lost: "The page cannot reach the lab; it tries again.",
  stranger: "The session has ended: “labfleet web” opens a new one.",
  refused: "The lab has nothing to show at this address.",
};

let end = () => {};
let followed = null;
let quiet = 0;

/** Say something for a while. */
function say(text) {
  const said = byId("said");
  said.hidden = false;
  show(said, text);
  clearTimeout(quiet);
  quiet = setTimeout(() => {
    said.hidden = true;
    show(said, "");
  }, 10_000);
}

function connection(state) {
  show(byId("connection"), SENTENCES[state]);
  document.body.dataset.connection = state;
}

/** Have something done that only an owner may order. */
async function order(address) {
  try {
    const answer = await fetch(address, { method: "POST" });
    const told = answer.status === 401 ? { message: SENTENCES.stranger } : await answer.json();
    say([told.message, told.hint].filter(Boolean).join(" – "));
  } catch {
    say("The page cannot reach the lab; nothing was done.");
  }
}

const handlers = {
  lab: (told) => {
    connection("open");
    const gone = (kind) => told.gone.filter(([what]) => what === kind).map(([, name]) => name);
    campaigns.take(told.campaigns, gone("campaign"), told.everything);
    picture.take(told.machines, gone("machine"), told.everything, campaigns.titleOf);
    campaign.note(told.time);
  },
  away: ({ since }) => {
    show(byId("connection"), `The lab’s foreman has not answered since ${clock(since)}.`);
    document.body.dataset.connection = "away";
  },
  campaign: campaign.take,
};

/** Show what the address says: #/, #/c/ID, #/c/ID/run/RUN.ATTEMPT or #/c/ID/build. */
function go() {
  if (location.hash && !location.hash.startsWith("#/")) return; // a place in the page
  const [, , id, part, attempt] = location.hash.split("/");
  const stream = part === "build" ? "build" : part === "run" ? `run-${attempt}` : "";
  byId("overview").hidden = Boolean(id);
  byId("campaign").hidden = !id;
  if (id) campaign.open(id, stream);
  else campaign.close();
  document.title = id ? `labfleet: ${id}` : "labfleet";
  if (followed !== (id ?? "")) {
    followed = id ?? "";
    end();
    end = listen(id ? `/events?campaign=${encodeURIComponent(id)}` : "/events", handlers, connection);
    scrollTo(0, 0);
  }
}

const me = await (await fetch("/me")).json();
show(byId("where"), `${me.lab}, as ${me.person}`);
const dashboard = localStorage.getItem("dashboard");
if (dashboard) {
  byId("dashboard").href = `http://${location.hostname}:${dashboard}/`;
  byId("dashboard").hidden = false;
}
campaign.begin(me.person, order);
addEventListener("hashchange", go);
go();
