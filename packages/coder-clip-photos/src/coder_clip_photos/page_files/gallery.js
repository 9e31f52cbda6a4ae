"use strict";
// The photos: which are shown, in what order, and how the keyboard moves between them.

import { $, app, ask, count, grouped, make, on_update, post, say, settled } from "./common.js";

const FIRST = 60; // photos shown before "Show more"
const SOME = 12; // photos of a group shown before "Show more"
let view = "", shown = FIRST;
let order = []; // photos of the view, by id: labels do not move them, so that the place is not lost
let found = null; // a search: its words and the score of each photo
let unfolded = {}; // how many photos of a group are shown, where it is not SOME
let proposed = []; // the photos to label next
let here = null; // the photo that the keyboard is at, or was at last
export const selected = new Set();
export const on_the_way = new Set(); // photos whose label the server does not have yet
const cards = new Map(); // id -> its card, which is kept so that pictures load once

// What a photo could be instead, as far as there is no label; points are those of texts alone.
export function before(p) {
  if (p.yours !== null) return "";
  return app.state.learned ? `or ${p.other}` : `${p.margin.toFixed(2)} points ahead of ${p.other}`;
}
export const place = () => here;
export const go_to = (id) => { here = id; };
export const listed = () => [...document.querySelectorAll("#gallery .card")].map((card) => Number(card.dataset.photo));

// What can be shown: its name, its title, and its entries: a photo with a line about it, or a group of these.
function views() {
  const { state } = app, photos = by_margin(), open = photos.filter((p) => p.yours === null);
  const list = (some) => some.map((p) => ({ photo: p, note: before(p) }));
  const wanted = [["uncertain", "Least certain", list(open)], ["changed", "Changed by your texts", list(photos.filter((p) => p.changed))]];
  if (state.labelled) wanted.unshift(["errors", "Errors", list(photos.filter((p) => !p.right))]);
  wanted.push(["classes", "By class", by_class(photos)]);
  if (state.may_label) {
    const yours = photos.filter((p) => p.yours !== null);
    wanted.splice(1, 0, ["next", "Next ten", list(proposed.map((id) => state.photos[id]))], ["yours", "Labelled", list(yours)]);
  }
  if (found) {
    const scored = [...state.photos].sort((a, b) => found.scores[b.id] - found.scores[a.id]);
    wanted.push(["found", found.words, scored.map((p) => ({ photo: p, note: `score ${found.scores[p.id].toFixed(1)}` }))]);
  }
  return wanted;
}

const by_margin = () => [...app.state.photos].sort((a, b) => a.margin - b.margin);
const shown_class = (p) => p.yours || p.label;

// A group per class that a photo got, in the order of the classes.
function by_class(photos) {
  const groups = new Map(app.state.texts.map((c) => [c.name, []]));
  for (const p of photos) groups.get(shown_class(p)).push({ photo: p, note: before(p) });
  return [...groups].filter(([, members]) => members.length).map(([name, members]) =>
    ({ key: `class ${name}`, title: `${name} (${count(members.length, "photo")})`, members }));
}

const end_of = (path) => path.split("/").slice(-2).join("/");

export function choose(name) {
  view = name;
  shown = FIRST;
  unfolded = {};
  const entry = views().find(([key]) => key === name);
  order = entry[2].filter((e) => e.photo).map((e) => e.photo.id);
  gallery();
}

export function gallery() {
  const { state } = app, all = views();
  let [, , entries] = all.find(([name]) => name === view);
  if (["uncertain", "next", "errors", "changed"].includes(view)) {
    // in the order in which they were chosen; texts that were edited meanwhile bring new ones at the end
    const notes = new Map(entries.map((e) => [e.photo.id, e]));
    const kept = order.filter((id) => notes.has(id) || state.photos[id]?.yours !== null).map((id) => notes.get(id) ?? { photo: state.photos[id], note: "" });
    entries = [...kept, ...entries.filter((e) => !order.includes(e.photo.id))];
    order = entries.map((e) => e.photo.id);
  }
  buttons(all);
  const focused = document.activeElement?.dataset?.photo;
  const parts = entries.slice(0, shown).map((entry) => (entry.photo ? item(entry) : group(entry)));
  if (!entries.length) parts.push(make("li", { className: "none quiet" }, "None."));
  if (view === "classes") parts.push(...without_photos(entries));
  $("gallery").replaceChildren(...parts);
  $("more").hidden = entries.length <= shown;
  $("next").hidden = !state.may_label || view === "classes";
  if (!listed().includes(here)) here = listed()[0] ?? null;
  tab_stop();
  if (focused) focus_card(Number(focused));
}

function buttons(all) {
  const focused = document.activeElement?.dataset?.filter;
  const made = all.map(([name, title, list]) =>
    make("button", { type: "button", "aria-pressed": String(view === name), "data-filter": name, onclick: () => pick(name) },
      name === "next" ? title : `${title} (${grouped(list.length)})`));
  $("filters").replaceChildren(...made);
  made.find((b) => focused && b.dataset.filter === focused)?.focus();
}

const pick = (name) => (name === "next" ? next_ten() : choose(name));

// Ten photos to label next, with the keyboard at the first.
export async function next_ten() {
  let found;
  try {
    await settled(); // a photo whose label is on its way would be proposed again
    found = await ask("next");
  } catch (error) {
    say(error.message);
    return;
  }
  if (!found.length) {
    say("Every photo has a label.");
    return;
  }
  proposed = found;
  choose("next");
  focus_card(proposed[0]);
}

function item({ photo, note }) {
  return make("li", {}, card(photo), ...(note ? [make("span", { className: "quiet" }, note)] : []));
}

function group({ key, title, members }) {
  const some = unfolded[key] ?? SOME;
  const head = make("div", { className: "line" }, make("h3", {}, title));
  const parts = [head, make("ul", { className: "photos" }, ...members.slice(0, some).map(item))];
  if (app.state.may_label && view === "classes") {
    const all = members.map((m) => m.photo.id);
    head.append(make("button", { type: "button", onclick: () => select(all, all[0]) }, `Select all ${grouped(all.length)}`));
  }
  if (members.length > some) {
    const unfold = () => {
      unfolded[key] = some + FIRST;
      gallery();
      focus_card(members[some].photo.id);
    };
    parts.push(make("button", { type: "button", onclick: unfold }, `Show more of ${title}`));
  }
  return make("li", { className: "group" }, ...parts);
}

// The classes that no photo got, which have no group.
function without_photos(groups) {
  const some = new Set(groups.map(({ key }) => key));
  const none = app.state.texts.filter((c) => !some.has(`class ${c.name}`)).map((c) => c.name);
  return none.length ? [make("li", { className: "none quiet" }, `No photo: ${none.join(", ")}.`)] : [];
}

// Put the keyboard on a photo of the gallery or, where it is not shown, on the view.
export function focus_card(id) {
  const card = document.querySelector(`#gallery [data-photo="${id}"]`);
  if (card) card.focus();
  else document.querySelector(`[data-filter="${view}"]`)?.focus();
}

function card(p) {
  let made = cards.get(p.id);
  if (!made) {
    const button = make("button", { className: "card", type: "button", title: p.name, "data-photo": String(p.id), tabIndex: -1,
      onclick: (event) => opened(p.id, event), onfocus: () => { here = p.id; tab_stop(); } });
    if (app.state.pictures) button.append(make("img", { src: `thumbnail/${p.id}`, alt: p.name, loading: "lazy" }));
    else button.append(make("span", {}, p.name));
    made = { button, lines: make("span", { className: "lines" }) };
    button.append(made.lines);
    if (app.state.may_label) {
      made.box = make("input", { type: "checkbox", className: "select", tabIndex: -1, "aria-label": `Select ${p.name}`,
        onclick: () => toggle(p.id) });
    }
    cards.set(p.id, made);
  }
  const lines = [[verdict(p), p.right === false ? "bad" : ""]];
  if (p.changed) lines.push([`was ${p.before}`, "quiet"]);
  if (p.corrected !== null) lines.push([corrected(p), "quiet"]);
  if (["found", "yours"].includes(view)) lines.push([end_of(p.name), "quiet"]);
  made.lines.replaceChildren(...lines.map(([text, className]) => make("span", { className }, text)));
  made.button.classList.toggle("labelled", p.yours !== null);
  if (!made.box) return made.button;
  made.box.checked = selected.has(p.id);
  return make("div", { className: "cell" }, made.button, made.box);
}

function verdict(p) {
  if (p.yours === "") return "✓ none of these";
  if (p.yours !== null) return `✓ ${p.yours}`;
  if (p.truth === null) return p.label;
  return p.right ? `${p.label}, right` : `${p.label}, but it is ${p.truth}`;
}

export const corrected = (p) => (p.corrected ? `next run: ${p.corrected}` : "next run: left out");

let open_photo;
export const on_open = (open) => { open_photo = open; };
const opened = (id) => { here = id; open_photo(app.state.photos[id]); };

// One photo of the gallery is reached by Tab, the others by arrows.
function tab_stop() {
  for (const card of document.querySelectorAll("#gallery .card")) card.tabIndex = Number(card.dataset.photo) === here ? 0 : -1;
}

// ---- selecting

export function select(ids, at = null) {
  selected.clear();
  for (const id of ids) selected.add(id);
  selection();
  if (at !== null) focus_card(at);
}

export function toggle(id) {
  if (!selected.delete(id)) selected.add(id);
  selection();
}

function selection() {
  for (const [id, { box }] of cards) if (box) box.checked = selected.has(id);
  $("selected").textContent = selected.size ? `${count(selected.size, "photo")} selected` : "";
}

// ---- moving

// The photo in a direction from one; null at the edge. Up and down go by where the cards are.
export function neighbour(id, key) {
  const all = [...document.querySelectorAll("#gallery .card")], at = all.findIndex((c) => Number(c.dataset.photo) === id);
  if (at < 0) return listed()[0] ?? null;
  const to = (card) => (card ? Number(card.dataset.photo) : null);
  if (key === "ArrowRight") return to(all[at + 1]);
  if (key === "ArrowLeft") return to(all[at - 1]);
  if (key === "Home") return to(all[0]);
  if (key === "End") return to(all.at(-1));
  const box = all[at].getBoundingClientRect(), down = key === "ArrowDown";
  const rows = all.filter((c) => { const y = c.getBoundingClientRect().top; return down ? y > box.top + 1 : y < box.top - 1; });
  const tops = rows.map((c) => c.getBoundingClientRect().top);
  const row = down ? Math.min(...tops) : Math.max(...tops);
  const near = rows.filter((c) => Math.abs(c.getBoundingClientRect().top - row) < 1);
  near.sort((a, b) => Math.abs(a.getBoundingClientRect().left - box.left) - Math.abs(b.getBoundingClientRect().left - box.left));
  return to(near[0]);
}

// The next photo without a label after one, else the first without; null if all that are shown have one.
export function next_open(id) {
  const all = listed(), from = all.indexOf(id);
  const after = [...all.slice(from + 1), ...all.slice(0, from)];
  return after.find((other) => app.state.photos[other].yours === null && !on_the_way.has(other)) ?? null;
}

// ---- finding

async function search(plus, minus) {
  try {
    const scores = await post("like", { plus, minus });
    show_found(`Like “${plus}”${minus ? `, not “${minus}”` : ""}`, scores);
  } catch (error) {
    $("searched").textContent = error.message;
  }
}

// Photos ordered by their likeness to one of them.
export async function more_like(photo) {
  show_found(`Like ${end_of(photo.name)}`, await ask(`like/${photo.id}`));
}

function show_found(words, scores) {
  found = { words, scores };
  $("searched").textContent = "";
  choose("found");
}

export function start_gallery() {
  choose(views()[0][0]);
}

on_update(() => { if (view) gallery(); });
$("more").addEventListener("click", () => {
  const first = listed().length;
  shown += FIRST;
  gallery();
  focus_card(listed()[first]);
});
$("next").addEventListener("click", next_ten);
$("search").addEventListener("submit", (event) => {
  event.preventDefault();
  search($("plus").value.trim(), $("minus").value.trim());
});
