// What a run or a build prints: the end of it, and what comes.

import { byId, bytes, show } from "./dom.js";
import { listen } from "./feed.js";

/** Characters that are kept in view; the whole log can be downloaded. */
const MOST = 400_000;

let end = () => {};
let length = 0;
let cut = false;

/** Show a log, and stop showing the one before. */
export function open(campaign, stream) {
  close();
  byId("whole-log").href = `/campaigns/${campaign}/logs/${stream}`;
  byId("whole-log").hidden = false;
  show(byId("log-note"), "");
  end = listen(`/campaigns/${campaign}/logs/${stream}/live`, { log: take });
}

export function close() {
  end();
  end = () => {};
  clear();
}

function clear() {
  byId("log").replaceChildren();
  length = 0;
  cut = false;
}

function take({ text, from, ended, gone }) {
  const log = byId("log");
  if (from !== undefined) {
    clear();
    cut = from > 0;
    show(byId("log-note"), cut ? `${bytes(from)} before this are not shown.` : "");
  }
  if (text) {
    // One text node for each piece: what is too old goes piece by piece.
    log.append(document.createTextNode(text));
    length += text.length;
    while (length > MOST && log.childNodes.length > 1) {
      length -= log.firstChild.data.length;
      log.firstChild.remove();
      cut = true;
    }
    if (byId("keep-end").checked) log.scrollTop = log.scrollHeight;
  }
  if (ended) {
    end(); // else the browser would ask for all of it again
    end = () => {};
    byId("whole-log").hidden = gone;
    if (gone) show(byId("log-note"), "The lab does not have all of this log; what came home is beside the results.");
    else show(byId("log-note"), `This is the end of the log.${cut ? " What came before is in the download." : ""}`);
  }
}
