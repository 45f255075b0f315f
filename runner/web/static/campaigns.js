// The list of campaigns: those under way first, the newest on top.

import { arrange, byId, clock, count, duration, element, set, show } from "./dom.js";

/** So many campaigns that have ended are in view. */
const FEW = 6;

const cards = new Map();
const campaigns = new Map();

export const titleOf = (id) => campaigns.get(id)?.config ?? id.slice(-4);
export const statusOf = (id) => campaigns.get(id);

/** Take what was told of campaigns; `everything`: there are no others. */
export function take(told, gone, everything) {
  if (everything) campaigns.clear();
  for (const campaign of told) campaigns.set(campaign.id, campaign);
  for (const id of gone) campaigns.delete(id);
  for (const id of cards.keys()) if (!campaigns.has(id)) cards.delete(id);
  if (!told.length && !gone.length && !everything) return;
  for (const campaign of told) draw(campaign);
  const order = [...campaigns.values()].sort(
    (one, other) => (one.ended !== null) - (other.ended !== null) || other.submitted - one.submitted,
  );
  const nodes = order.map((campaign) => cards.get(campaign.id).node);
  const inView = order.filter((campaign) => campaign.ended === null).length + FEW;
  arrange(byId("campaigns"), nodes.slice(0, inView));
  arrange(byId("older-campaigns"), nodes.slice(inView));
  set(byId("older"), "hidden", nodes.length <= inView);
  show(byId("older-title"), `${count(nodes.length - inView, "more campaign")} of the last day`);
  byId("no-campaigns").hidden = order.length > 0;
}

/** Return in a sentence where a campaign stands. */
export function standing(campaign) {
  const parts = [];
  if (campaign.total) parts.push(`${campaign.done} of ${count(campaign.total, "run")} done`);
  if (campaign.failed) parts.push(`${campaign.failed} failed`);
  if (campaign.running && campaign.ended === null) parts.push(`${campaign.running} running`);
  if (campaign.eta !== null && campaign.eta !== undefined && campaign.ended === null) parts.push(`about ${duration(campaign.eta)} left`);
  if (campaign.ended !== null) parts.push(`ended ${clock(campaign.ended)}`);
  return parts.join(", ");
}

function draw(campaign) {
  let card = cards.get(campaign.id);
  if (!card) cards.set(campaign.id, (card = empty(campaign)));
  set(card.node, "data-phase", campaign.phase);
  show(card.phase, campaign.phase);
  show(card.standing, standing(campaign));
  show(card.waiting, campaign.waiting ?? "");
  set(card.waiting, "hidden", !campaign.waiting);
  set(card.progress, "max", campaign.total || 1);
  set(card.progress, "hidden", campaign.ended != null && !campaign.total); // refused before it had any runs
  const over = campaign.done + campaign.failed;
  if (campaign.total && (card.progress.position < 0 || card.progress.value !== over)) card.progress.value = over;
}

function empty(campaign) {
  const card = {
    phase: element("span", { className: "state" }),
    standing: element("p", { className: "facts" }),
    waiting: element("p", { className: "reason" }),
    progress: element("progress", { aria: { label: `Runs of ${campaign.config} that are over` } }),
  };
  const link = element("a", { href: `#/c/${campaign.id}`, textContent: `${campaign.name} ${campaign.config}` });
  const whose = element("p", { className: "facts", textContent: `${campaign.user} · ${campaign.id}` });
  card.node = element("li", {}, element("h3", {}, link, " ", card.phase), card.progress, card.standing, card.waiting, whose);
  return card;
}
