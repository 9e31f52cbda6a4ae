"use strict";
// One photo and its reasons, in a dialog.

import { $, app, ask, change, make, on_update } from "./common.js";
import { before, corrected, focus_card, go_to, more_like, neighbour, on_open } from "./gallery.js";

let opened = null; // the photo whose details were opened last

export const is_open = () => $("details").open;

function reasons(title, list, photo, largest) {
  if (!list.length) return [];
  const rows = list.map((r) => {
    const fits = (r.adds > 0) === (r.label === photo.label) ? "fits well" : "fits badly";
    const bar = make("div", { className: "bar", "aria-hidden": "true" });
    bar.style.width = `${(100 * Math.abs(r.adds)) / largest}%`;
    return make("li", { className: r.adds > 0 ? "good" : "bad" },
      make("span", { className: "number" }, `${r.adds > 0 ? "+" : "−"}${Math.abs(r.adds).toFixed(2)}`),
      make("span", {}, `${r.label}: “${r.text}” ${fits} `, make("span", { className: "quiet" }, `(${r.kind})`)), bar);
  });
  return [make("h3", {}, title), make("ul", { className: "reasons" }, ...rows)];
}

function explained(photo, image) {
  const strongest = (of) => Math.max(...[...of.for, ...of.against].map((r) => Math.abs(r.adds)), 1e-9);
  const largest = strongest(photo), two = photo.reranked;
  const lead = `${photo.margin.toFixed(2)} points ahead of ${photo.other}`;
  const line = `By texts: score ${photo.score.toFixed(1)}; ${lead} (${photo.other_score.toFixed(1)}).`;
  return make("div", { className: "photo" }, ...(image ? [image] : []), make("div", {},
    make("p", {}, line),
    ...reasons(`For ${photo.label}, against ${photo.other}`, photo.for, photo, largest),
    ...reasons(`Against ${photo.label}, for ${photo.other}`, photo.against, photo, largest),
    ...(two ? [make("h3", {}, `The rerank decides: ${two.label}`),
      ...reasons(`What tells ${two.label} from the other candidates`, two.for, two, strongest(two)),
      ...reasons(`Against ${two.label}`, two.against, two, strongest(two))] : [])));
}

function title(p) {
  if (p.yours !== null) return `✓ ${p.yours || "none of these"}`;
  if (p.truth === null || p.right) return app.state.learned ? `${p.label}, ${before(p)}` : p.label;
  return `${p.label}, but it is ${p.truth}`;
}

async function open(p) {
  opened = p.id;
  $("details-title").textContent = title(p);
  $("details-body").replaceChildren("…");
  if (!is_open()) $("details").showModal();
  for (const [id, key] of [["before", "ArrowLeft"], ["after", "ArrowRight"]]) $(id).disabled = neighbour(p.id, key) === null;
  const image = app.state.pictures ? make("img", { src: `photo/${p.id}`, alt: p.name }) : null;
  try {
    const photo = await ask(`why/${p.id}`);
    if (opened !== p.id) return; // another one was opened meanwhile
    const like = make("button", { type: "button", onclick: () => { $("details").close(); more_like(p); } }, "More like this");
    $("details-body").replaceChildren(make("p", { className: "quiet" }, p.name), explained(photo, image), like, ...label(p));
  } catch (error) {
    $("details-body").replaceChildren(make("p", { className: "bad" }, error.message));
  }
}

// The photo before or after the opened one, in the order of the gallery.
export function step(key) {
  const next = neighbour(opened, key);
  if (next === null) return;
  go_to(next);
  open(app.state.photos[next]);
}

// The true class of a photo of a run, to be corrected.
function label(p) {
  const { state } = app;
  if (p.truth === null) return [];
  if (!state.corrects) return [make("p", { className: "quiet" }, `The label is ${p.truth}; ${state.labels_fixed_because}.`)];
  const options = [...state.texts.map((c) => [c.name, c.name]), ["", "none of these: leave the photo out"]];
  const select = make("select", { "aria-label": "True class" }, ...options.map(([value, text]) => make("option", { value }, text)));
  select.value = p.corrected ?? p.truth;
  const { file, advice } = state.corrects, said = make("p", { role: "status" });
  const save = async (event) => {
    event.preventDefault();
    try {
      await change("correct", () => ({ photo: p.id, to: select.value }));
      const now = app.state.photos[p.id];
      said.replaceChildren(now.corrected === null ? `The label stays ${now.truth}.` : `Saved in ${file}; ${corrected(now)}.`,
        ...(now.corrected !== null && advice ? [` ${advice} `, make("code", {}, `corrections: ${file}`)] : []));
    } catch (error) {
      said.replaceChildren(make("span", { className: "bad" }, error.message));
    }
  };
  return [make("h3", {}, "Is the label wrong?"),
    make("form", { className: "correct", onsubmit: save }, select, make("button", { type: "submit" }, "Correct the label"), said,
      make("p", { className: "hint" }, "Go by what the photo shows, not by the class that was found: otherwise accuracy rises without a better text. The photo stays where it is."))];
}

on_update(() => {
  if (is_open() && opened !== null) $("details-title").textContent = title(app.state.photos[opened]);
});
on_open(open);
$("before").addEventListener("click", () => step("ArrowLeft"));
$("after").addEventListener("click", () => step("ArrowRight"));
$("details").addEventListener("close", () => focus_card(opened));
