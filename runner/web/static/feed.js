// What the lab tells, as it happens.  A page that nobody sees listens to nothing, and hears everything anew when it is seen.

/** Listen at an address; `handlers` by the events' names, and `state` for how the connection is.  Returns what ends it. */
export function listen(address, handlers, state = () => {}) {
  let source = null;
  const open = () => {
    source = new EventSource(address);
    source.onopen = () => state("open");
    source.onerror = () => {
      if (source.readyState !== EventSource.CLOSED) state("lost");
      else explain(address, state);
    };
    for (const [name, handle] of Object.entries(handlers)) {
      source.addEventListener(name, (event) => handle(JSON.parse(event.data)));
    }
  };
  const seen = () => {
    if (document.hidden && source) {
      source.close();
      source = null;
    } else if (!document.hidden && !source) open();
  };
  document.addEventListener("visibilitychange", seen);
  seen();
  return () => {
    document.removeEventListener("visibilitychange", seen);
    source?.close();
    source = null;
  };
}

/** A browser does not say why an event stream was refused: ask in another way. */
async function explain(address, state) {
  try {
    const answer = await fetch("/me");
    state(answer.status === 401 ? "stranger" : "refused");
  } catch {
    state("lost");
  }
}
