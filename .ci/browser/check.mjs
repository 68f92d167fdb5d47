// Looks at a study's report in a real browser: node check.mjs CHROMIUM REPORT.html [PICTURES]
// Renders, asks for nothing from anywhere, sorts by mouse and keyboard, has no error, and is accessible, on light and dark
// pages, on a desk and on a phone. With a folder, leaves a picture of each there.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";
import puppeteer from "puppeteer-core";

const [chromium, report, pictures] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const problems = [];
const expect = (good, what) => good || problems.push(what);

const browser = await puppeteer.launch({ executablePath: chromium, args: ["--no-sandbox", "--disable-gpu"] });
for (const theme of ["light", "dark"]) {
  for (const [name, width] of [["desk", 1280], ["phone", 390]]) {
    await look(theme, name, width);
  }
}
await browser.close();
problems.forEach((problem) => console.error(problem));
console.log(problems.length ? `${problems.length} problems` : "the report renders, sorts, and is accessible");
process.exit(problems.length ? 1 : 0);

async function look(theme, name, width) {
  const where = `${theme}, ${name}`;
  const page = await browser.newPage();
  page.on("console", (message) => expect(message.type() !== "error", `${where}: ${message.text()}`));
  page.on("pageerror", (error) => problems.push(`${where}: ${error}`));
  page.on("request", (request) => {
    expect(/^(file|data):/.test(request.url()), `${where}: asks for ${request.url()}`);
  });
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: theme }]);
  await page.setViewport({ width, height: 900, isMobile: name === "phone" });
  await page.goto(pathToFileURL(path.resolve(report)).href);

  const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  expect(wide <= 0, `${where}: the page is ${wide} pixels wider than the screen`);
  const background = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const bright = background.match(/\d+/g).slice(0, 3).every((part) => Number(part) > 127);
  expect(bright === (theme === "light"), `${where}: the background is ${background}`);
  const figures = await page.$$eval("figure svg", (all) => all.map((svg) => svg.getBoundingClientRect().height));
  expect(figures.length > 0 && figures.every((height) => height > 50), `${where}: figures of heights ${figures}`);
  if (pictures) await page.screenshot({ path: path.join(pictures, `${theme}-${name}.png`), fullPage: true });
  await sorting(page, where);

  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => axe.run());
  for (const { id, help, nodes } of violations) {
    problems.push(`${where}: ${id}: ${help}: ${nodes.slice(0, 3).map((node) => node.html.slice(0, 160)).join(" | ")}`);
  }
  await page.close();
}

// The last column of numbers of the first table, upwards by the mouse and downwards by the keyboard.
async function sorting(page, where) {
  const button = await page.evaluateHandle(() => [...document.querySelectorAll("table.sortable th.number button")][0]);
  const state = () =>
    page.evaluate((button) => {
      const head = button.closest("th");
      const rows = [...head.closest("table").tBodies[0].rows];
      const values = rows.map((row) => parseFloat(row.cells[head.cellIndex].dataset.value));
      return { sort: head.getAttribute("aria-sort"), values: values.filter((value) => !Number.isNaN(value)) };
    }, button);
  const inOrder = (values, sign) => values.every((value, at) => at === 0 || sign * (value - values[at - 1]) >= 0);
  expect((await state()).sort === "none", `${where}: a table says that it is sorted before it is`);
  await button.click();
  const up = await state();
  expect(up.sort === "ascending" && inOrder(up.values, 1), `${where}: not sorted upwards: ${JSON.stringify(up)}`);
  await button.focus();
  await page.keyboard.press("Enter");
  const down = await state();
  expect(down.sort === "descending" && inOrder(down.values, -1), `${where}: not sorted downwards: ${JSON.stringify(down)}`);
}
