"use strict";
// The start of the page, and its answer: how many photos are right, and what edits change.

import { $, app, ask, count, grouped, make, on_update, percent, points, say, update, update_from_elsewhere } from "./common.js";
import { start_gallery } from "./gallery.js";
import "./photo.js";
import { repeated, waiting } from "./texts.js";
import "./labels.js";
import "./run.js";

function answer() {
  const line = $("answer");
  line.replaceChildren();
  effect(line);
  if (repeated) line.append(` “${repeated}” is there already, so this text changes nothing.`);
}

function effect(line) {
  const { state } = app;
  if (!state.labelled) {
    unlabelled(line);
    return;
  }
  const { accuracy: a, difference: d } = state;
  line.append(make("strong", {}, `${percent(a.value)} of ${count(state.images, "photo")} right`),
    ` (95 % interval ${percent(a.low)} to ${percent(a.high)}). `);
  if (!edited()) return;
  if (!d.fixed && !d.broke) {
    const changed = state.changed ? `the class of ${count(state.changed, "photo")}, but put none` : "no class, so they put no photo";
    line.append(`Your texts change ${changed} right or wrong.`);
    return;
  }
  const { low, high, value } = d, { verdict, tried } = state;
  const said = verdict ? `clearly ${verdict}` : "no clear difference";
  line.append(make("span", { className: { better: "good", worse: "bad" }[verdict] ?? "" },
    `Your texts: ${points(value)} points [${points(low)}, ${points(high)}], ${count(d.fixed, "photo")} put right, ${grouped(d.broke)} put wrong: ${said}.`),
    ` The interval is corrected for the ${count(tried, "text set")} that you tried. Validation images choose texts; the test images of the next run judge them.`);
}

function unlabelled(line) {
  const { state } = app, yours = state.photos.filter((p) => p.yours !== null).length;
  if (state.title !== count(state.images, "photo")) line.append(`${count(state.images, "photo")} without labels. `);
  line.append(yours ? `${grouped(yours)} of ${grouped(state.images)} labelled by you. ` : "Without labels. ");
  if (state.learned) line.append("The others get their class by texts and labels. ");
  if (edited() && state.changed) line.append(`Your texts change the class of ${grouped(state.changed)}.`);
  else if (edited() && !yours) line.append("Your texts change the class of no photo.");
}

const edited = () => JSON.stringify(app.state.texts) !== JSON.stringify(app.state.first_texts);

function show_advice() {
  const { state } = app, whole = `${state.advice} ${state.shows}`.trim();
  $("advice").hidden = !whole;
  const short = whole.split(/(?<=[.;])\s/)[0];
  $("advice-short").textContent = short;
  $("advice-long").textContent = whole.slice(short.length);
}

async function start() {
  let state;
  try {
    state = await ask("state");
  } catch (error) {
    $("answer").replaceChildren(make("span", { className: "bad" }, error.message));
    return;
  }
  app.state = state;
  document.title = state.title;
  $("title").textContent = state.title;
  $("of-errors").hidden = !state.labelled;
  for (const part of document.querySelectorAll(".labelling")) part.hidden = !state.may_label;
  show_advice();
  start_gallery();
  update(state);
  if (state.continued) say(`Your work up to ${state.continued} is here.`, ["Start afresh", () => $("afresh").click()]);
}

// A page that comes into view shows what another tab has done, unless something typed here is on its way.
async function look_again() {
  if (!app.state || document.visibilityState !== "visible" || waiting()) return;
  const now = await ask("state").catch(() => null);
  if (now && now.version > app.state.version) update_from_elsewhere(now);
}

on_update(answer);
document.addEventListener("visibilitychange", look_again);
window.addEventListener("focus", look_again);
$("show-help").addEventListener("click", () => $("help").showModal());
start();
