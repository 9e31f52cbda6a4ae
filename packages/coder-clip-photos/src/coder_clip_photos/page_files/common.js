"use strict";
// What all parts of the page share. Texts from people and files only ever become text nodes, never HTML.

export const $ = (id) => document.getElementById(id);
// replaced: what labels of this page have replaced, a list of [photo, label] each, the last one last: undo gives it back.
export const app = { state: null, replaced: [] };
const listeners = [];

// Call a function whenever the state has changed.
export const on_update = (listener) => listeners.push(listener);

export function update(state) {
  app.state = state;
  for (const listener of listeners) listener();
}

// The state as another tab has made it: what labels replaced before is out of date.
export function update_from_elsewhere(state) {
  app.replaced = [];
  update(state);
}

export function make(tag, given = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && typeof value !== "string") element[name] = value;
    else element.setAttribute(name === "className" ? "class" : name, value);
  }
  element.append(...children);
  return element;
}

export async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("coder-clip explore has ended: start it again in the terminal");
  }
  const found = await answer.json().catch(() => ({ error: `the page answers ${answer.status}` }));
  if (!answer.ok) throw Object.assign(new Error(found.error), { state: found.state });
  return found;
}

export const post = (path, document) =>
  ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(document) });

// Edits go one after the other, each on the version that the one before has made, and answer the new state. edit: a
// function that sends one, called when its turn comes. An edit of what another tab has changed meanwhile is refused, and
// the error has the state as it is.
let last = Promise.resolve();
export function in_turn(edit) {
  const mine = last.then(async () => update(await edit()));
  last = mine.catch(() => {});
  return mine;
}

// Waits until the edits so far have their answers.
export const settled = () => last;

export const change = (name, body = () => ({})) =>
  in_turn(() => post(`edit/${name}`, { ...body(), version: app.state.version }));

// As `change`, where nothing but a message can be made of an error.
export async function change_or_say(name, body) {
  try {
    await change(name, body);
    return true;
  } catch (error) {
    if (error.state) update_from_elsewhere(error.state);
    say(error.message);
    return false;
  }
}

export const percent = (share) => `${(100 * share).toFixed(1)} %`;
export const grouped = (n) => n.toLocaleString("en");
export const count = (n, thing) => `${grouped(n)} ${thing}${n === 1 ? "" : "s"}`;
export const points = (share) => `${share > 0 ? "+" : share < 0 ? "−" : ""}${Math.abs(100 * share).toFixed(1)}`;

// A message at the bottom of the window, which screen readers say, too. actions: [words, function].
let timer;
export function say(message, ...actions) {
  clearTimeout(timer);
  const close = () => $("said").replaceChildren();
  const buttons = actions.map(([words, action]) =>
    make("button", { type: "button", onclick: () => { close(); action(); } }, words));
  $("said").replaceChildren(make("span", {}, message), ...buttons,
    make("button", { type: "button", "aria-label": "Close the message", onclick: close }, "×"));
  if (!actions.length) timer = setTimeout(close, 8000);
}
