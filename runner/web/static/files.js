// What a run left: to be looked through and downloaded.

import { bytes, element } from "./dom.js";

/** Return what there is to be shown of a run's results, if they are those of an attempt, else whose they are. */
export async function draw(campaign, run, attempt) {
  const answer = await fetch(`/campaigns/${campaign}/runs/${run}`);
  if (!answer.ok) return [];
  const told = await answer.json();
  const nodes = [element("h4", { textContent: "Results" })];
  if (told.attempt !== attempt) {
    const link = element("a", { textContent: `attempt ${told.attempt}`, href: `#/c/${campaign}/run/${run}.${told.attempt}` });
    return [...nodes, element("p", {}, "The results are those of ", link, ".")];
  }
  const facts = [`exit status ${told.exit_status}`];
  if (told.seed_set) facts.push(`seed set ${told.seed_set}`);
  nodes.push(element("p", { textContent: facts.join(" · ") }));
  if (told.command) nodes.push(element("p", { className: "command", textContent: told.command }));
  if (told.error) nodes.push(element("p", { className: "reason", textContent: told.error }));
  if (!told.files.length) return [...nodes, element("p", { textContent: "The run left no files." })];
  if (told.files.some((file) => !file.here)) {
    nodes.push(element("p", { textContent: "What has come home is in the project’s results folder, and not in the lab any more." }));
  }
  const rows = told.files.map((file) => {
    const link = element("a", { textContent: file.path });
    if (file.here) {
      link.href = `/campaigns/${campaign}/runs/${run}/files/${file.number}`;
      link.download = "";
    }
    return element("tr", {}, element("td", {}, link), element("td", { textContent: bytes(file.size) }), element("td", { textContent: file.here ? "in the lab" : "at home" }));
  });
  const head = element("thead", {}, element("tr", {}, ...["File", "Size", "Where"].map((text) => element("th", { scope: "col", textContent: text }))));
  const table = element("table", {}, element("caption", { textContent: `Files of run ${run}` }), head, element("tbody", {}, ...rows));
  const box = element("div", { className: "wide", tabIndex: 0, role: "group", aria: { label: `Files of run ${run}` } }, table);
  return [...nodes, box];
}
