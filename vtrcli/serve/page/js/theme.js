// Dark and light: the system's, until the switch says otherwise; early.js applies what was chosen before.

import { byId, icon } from "./dom.js";

export function switchTheme() {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const button = byId("theme-button");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const draw = () => {
    button.replaceChildren(icon(isDark() ? "sun" : "moon"));
    button.setAttribute("aria-label", isDark() ? "Light" : "Dark");
    button.title = isDark() ? "Light" : "Dark";
  };
  button.addEventListener("click", () => {
    const wanted = isDark() ? "light" : "dark";
    const isSystem = (wanted === "dark") === system.matches;
    if (isSystem) delete root.dataset.theme;
    else root.dataset.theme = wanted;
    try {
      if (isSystem) localStorage.removeItem("vtr-theme");
      else localStorage.setItem("vtr-theme", wanted);
    } catch {
      // It holds for this page, then.
    }
    draw();
  });
  system.addEventListener("change", draw);
  draw();
}
