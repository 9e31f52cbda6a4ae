"use strict";
// Labels leave the page and come in, and become the files of a run.

import { $, app, ask, count, in_turn, make, on_update, post, say, update_from_elsewhere } from "./common.js";
import { undo } from "./labels.js";
import { sent } from "./texts.js";

on_update(() => { $("run").hidden = !app.state.may_label; });

async function make_run(event) {
  event.preventDefault();
  const made = $("made");
  made.className = "";
  made.textContent = "Writing …";
  try {
    await sent();
    const { photos, folder, command } = await post("make-run", { name: $("run-name").value.trim() });
    made.className = "good";
    made.replaceChildren(`${count(photos, "photo")} in ${folder}. The run, in a clone of coder-clip: `, make("code", {}, command));
  } catch (error) {
    made.textContent = error.message;
    made.className = "bad";
  }
}

$("make-run").addEventListener("submit", make_run);
$("labels-file").addEventListener("change", async (event) => {
  const [file] = event.target.files;
  if (!file) return;
  try {
    await in_turn(() => {
      app.replaced.push(app.state.photos.map((p) => [p.id, p.yours]));
      return ask(`labels?version=${app.state.version}`, { method: "POST", body: file });
    });
    say(app.state.said, ["Undo", undo]);
  } catch (error) {
    if (error.state) update_from_elsewhere(error.state);
    say(error.message);
  }
  event.target.value = "";
});
