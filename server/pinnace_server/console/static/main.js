// @ts-check
/** Starts the parts; charts are fetched only by pages that have one. */
import { startDialogs } from "./dialog.js";
import { startLive } from "./live.js";
import { startPage } from "./page.js";
import { startSwapping } from "./swap.js";

startPage();
startDialogs();
startSwapping();
startLive();

const drawCharts = async () => {
  if (document.querySelector("[data-chart]")) (await import("./chart.js")).drawCharts();
};
for (const name of ["swapped", "refreshed", "themed"]) document.addEventListener(name, () => void drawCharts());
void drawCharts();
