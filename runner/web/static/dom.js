// Nodes and texts.  Whatever comes from a simulation becomes text of a node, never HTML.

export const byId = (id) => document.getElementById(id);

/** Return a new element: properties by name, `data` and `aria` for attributes, children as nodes or texts. */
export function element(tag, { data = {}, aria = {}, ...properties } = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  Object.assign(made.dataset, data);
  for (const [name, value] of Object.entries(aria)) made.setAttribute(`aria-${name}`, value);
  made.append(...children);
  return made;
}

/** Have a node show a text; one that it shows already costs nothing. */
export function show(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Set a property, or with a text beginning in "data-" or "aria-" an attribute, if it is another one. */
export function set(node, name, value) {
  if (name.includes("-")) {
    if (node.getAttribute(name) !== value) node.setAttribute(name, value);
  } else if (node[name] !== value) node[name] = value;
}

/** Have a parent's children be these nodes in this order; those that are there stay. */
export function arrange(parent, nodes) {
  let next = parent.firstChild;
  for (const node of nodes) {
    if (node === next) next = next.nextSibling;
    else parent.insertBefore(node, next);
  }
  while (next) {
    const gone = next;
    next = next.nextSibling;
    gone.remove();
  }
}

export function duration(seconds) {
  if (seconds < 9.95) return `${Math.max(0, seconds).toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${String(whole % 60).padStart(2, "0")} s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return `${hours} h ${String(minutes % 60).padStart(2, "0")} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

export function bytes(number) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (number >= 1000 && unit < units.length - 1) {
    number /= 1000;
    unit += 1;
  }
  return `${unit && number < 10 ? number.toFixed(1) : Math.round(number)} ${units[unit]}`;
}

export const rate = (number) => (number >= 1e6 ? `${(number / 1e6).toFixed(1)}M` : number >= 1000 ? `${Math.round(number / 1000)}k` : `${Math.round(number)}`);

export const count = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;

/** Return when something was, with the date unless that is today. */
export function clock(seconds) {
  const when = new Date(seconds * 1000);
  return when.toDateString() === new Date().toDateString() ? when.toLocaleTimeString() : when.toLocaleString();
}
