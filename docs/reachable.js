// Wide tables, equations and code scroll, which takes a place for the keyboard's focus. The theme
// gives it to code alone, and takes it away where no mouse is told of.
const scrolling = [".md-typeset__scrollwrap", ".equation", ".md-typeset pre > code"]
  .map((part) => `${part}:not([tabindex])`).join();
const reach = () => document.querySelectorAll(scrolling).forEach((part) => { part.tabIndex = 0; });
const all = { attributes: true, attributeFilter: ["tabindex"], childList: true, subtree: true };
new MutationObserver(reach).observe(document.body, all);
reach();
