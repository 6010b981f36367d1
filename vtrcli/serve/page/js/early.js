// Runs before anything is drawn, so that a chosen look does not flash in the other one first.
try {
  const theme = localStorage.getItem("vtr-theme");
  if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
} catch {
  // A browser that keeps nothing for this page follows the system.
}
