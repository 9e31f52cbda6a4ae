"use strict";
// Labels by key and by name, for the photo that the keyboard is at or for the selected ones.

import { $, app, change_or_say, count, make, on_update, say, settled } from "./common.js";
import { focus_card, listed, neighbour, next_open, next_ten, on_the_way, place, select, selected, toggle } from "./gallery.js";
import { is_open, step } from "./photo.js";

// Give the selected photos, or the one that the keyboard is at, a class; "" for none of these, null for no label.
async function give(to) {
  const at = place(), many = [...selected], photos = many.length ? many : [at];
  if (at === null && !many.length) return;
  select([]);
  const going = change_or_say("label", () => {
    app.replaced.push(photos.map((id) => [id, app.state.photos[id].yours]));
    return { photos, to };
  });
  if (many.length) {
    await going;
    say(`${to === null ? "No label" : to || "None of these"}: ${count(photos.length, "photo")}`, ["Undo", undo]);
    focus_card(at);
    return;
  }
  // go on at once; the next key need not wait for the server
  if (to === null) return;
  on_the_way.add(at);
  if (is_open()) step("ArrowRight");
  else go_on(at);
  await going;
  on_the_way.delete(at);
}

function go_on(at) {
  const next = next_open(at);
  if (next !== null) focus_card(next);
  else if (!$("more").hidden) $("more").focus();
  else $("next").focus();
}

// Give the photos of the last edit of labels those that they had before.
export async function undo() {
  await settled(); // a label that is on its way is the last one
  const photos_of = new Map();
  for (const [id, label] of app.replaced.pop() ?? [])
    if (app.state.photos[id].yours !== label) photos_of.set(label, [...(photos_of.get(label) ?? []), id]);
  for (const [to, photos] of photos_of) await change_or_say("label", () => ({ photos, to }));
  undo_button();
}

const undo_button = () => { $("undo").disabled = !app.replaced.length; };

function chips() {
  const { state } = app;
  $("labels").hidden = !state.may_label;
  if (!state.may_label) return;
  const counts = new Map();
  for (const p of state.photos) if (p.yours !== null) counts.set(p.yours, (counts.get(p.yours) ?? 0) + 1);
  const chip = (key, name, to) =>
    make("button", { type: "button", "data-class": to, onclick: () => give(to) },
      ...(key ? [make("kbd", {}, key), " "] : []), name, ...(counts.get(to) ? [` (${counts.get(to).toLocaleString("en")})`] : []));
  const focused = document.activeElement?.dataset?.class;
  $("chips").replaceChildren(
    ...state.texts.map((c, i) => chip(i < 9 ? String(i + 1) : "", c.name, c.name)), chip("0", "none of these", ""));
  if (focused !== undefined) document.querySelector(`#chips [data-class="${CSS.escape(focused)}"]`)?.focus();
}

// The rest of a name that begins like a class, marked so that going on typing replaces it.
function complete(event) {
  const field = $("name"), typed = field.value;
  if (!event.inputType?.startsWith("insert") || !typed.trim()) return;
  const of = app.state.texts.find((c) => c.name.toLowerCase().startsWith(typed.toLowerCase()));
  if (!of || of.name.length === typed.length) return;
  field.value = typed + of.name.slice(typed.length);
  field.setSelectionRange(typed.length, field.value.length);
}

function keys(event) {
  const { state } = app, target = event.target;
  if (!state || target.matches("input:not([type=checkbox]), select, textarea") || $("help").open) return;
  if (event.ctrlKey || event.metaKey) return with_control(event);
  if (event.altKey) return;
  const on_card = target.matches(".card"), in_photo = is_open();
  if (!on_card && !in_photo) return;
  if (event.key.startsWith("Arrow") || event.key === "Home" || event.key === "End") {
    event.preventDefault();
    if (in_photo) step(event.key);
    else focus_card(neighbour(place(), event.key) ?? place());
    return;
  }
  if (state.may_label) label_key(event, in_photo);
}

function label_key(event, in_photo) {
  const { key } = event, number = Number(key);
  if (/^[1-9]$/.test(key) && number <= app.state.texts.length) give(app.state.texts[number - 1].name);
  else if (key === "0") give("");
  else if (key === "Backspace" || key === "Delete") give(null);
  else if (key === " " && !in_photo) toggle(place());
  else if (key === "Escape" && !in_photo) select([]);
  else if (key === "+") next_ten();
  else if (/^\p{L}$/u.test(key) && !in_photo) {
    $("name").value = "";
    $("name").focus(); // the letter goes on into the field
    return;
  } else return;
  event.preventDefault();
}

function with_control(event) {
  const key = event.key.toLowerCase();
  if (key === "z") undo();
  else if (key === "a" && app.state.may_label && event.target.matches(".card")) select(listed());
  else return;
  event.preventDefault();
}

on_update(chips);
on_update(undo_button);
document.addEventListener("keydown", keys);
$("undo").addEventListener("click", undo);
$("name").addEventListener("input", complete);
$("name").addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  $("name").value = "";
  focus_card(place());
});
$("by-name").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = $("name").value.trim();
  $("name").value = "";
  if (name) give(name);
});
