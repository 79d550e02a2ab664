export {areaY, barX, dot, line, plot, pointer, ruleX, ruleY, text, tip} from "@observablehq/plot";
