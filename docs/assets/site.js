// What the theme leaves out for screen readers and keyboards.
document.querySelector(".md-search")?.setAttribute("aria-label", "Search");

// A line of code or a table that is wider than the page is scrolled by keys, too. The theme makes what scrolls later.
function reachable() {
  for (const block of document.querySelectorAll("pre, pre code, .md-typeset__table, .md-typeset__scrollwrap")) {
    if (block.scrollWidth > block.clientWidth) block.tabIndex = 0;
    else block.removeAttribute("tabindex");
  }
}
new ResizeObserver(reachable).observe(document.querySelector("article"));
addEventListener("load", reachable);
