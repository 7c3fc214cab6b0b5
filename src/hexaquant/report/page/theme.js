"use strict";
// Before anything is drawn: the theme the reader chose last, else the system's.
try {
  const chosen = localStorage.getItem("hexaquant-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch (error) { /* storage may be closed to local files; the system's theme stays */ }
