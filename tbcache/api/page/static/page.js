// Says how old what is shown is, and greys it out where nothing new comes. Without this file the page is whole all the same.
"use strict";
(() => {
  const OLD_MS = 5000;
  let seen = performance.now();
  const fresh = () => { seen = performance.now(); };
  document.addEventListener("htmx:sse:after:message", fresh);
  document.addEventListener("visibilitychange", fresh);
  setInterval(() => {
    const old = performance.now() - seen;
    document.documentElement.classList.toggle("old", old > OLD_MS);
    const note = document.getElementById("age");
    if (note) note.textContent = old > OLD_MS ? `nothing new for ${Math.round(old / 1000)} s: is the server there?` : "";
  }, 500);
})();
