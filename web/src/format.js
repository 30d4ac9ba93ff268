// Numbers for people: three significant digits, a unit, and a narrow no-break space between them.
const GAP = '\u202f';
const NONE = '–';

const isNumber = (x) => typeof x === 'number' && Number.isFinite(x);

function digits(x) {
  const a = Math.abs(x);
  if (a === 0) return '0';
  if (a >= 100) return Math.round(x).toLocaleString('en-US');
  if (a >= 10) return x.toFixed(1).replace(/\.0$/, '');
  return x.toFixed(2).replace(/\.?0+$/, '');
}

export const count = (x) => (isNumber(x) ? Math.round(x).toLocaleString('en-US') : NONE);

export function short(x) {
  if (!isNumber(x)) return NONE;
  const a = Math.abs(x);
  if (a >= 999.5e6) return `${digits(x / 1e9)}${GAP}G`;
  if (a >= 999.5e3) return `${digits(x / 1e6)}${GAP}M`;
  if (a >= 99.95e3) return `${digits(x / 1e3)}${GAP}k`;
  return digits(x);
}

export const rate = (x) => (isNumber(x) ? `${short(x)}${GAP}/s` : NONE);

export function ms(x) {
  if (!isNumber(x)) return NONE;
  if (x === 0) return `0${GAP}ms`;
  if (x < 0.9995) return `${digits(x * 1000)}${GAP}µs`;
  if (x < 999.5) return `${digits(x)}${GAP}ms`;
  return duration(x);
}

export const us = (x) => (isNumber(x) ? ms(x / 1000) : NONE);

export function bytes(x) {
  if (!isNumber(x)) return NONE;
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let i = 0;
  while (Math.abs(x) >= 999.5 && i < units.length - 1) {
    x /= 1024;
    i++;
  }
  return `${digits(x)}${GAP}${units[i]}`;
}

// A share of 1 as percent; what is not zero never reads as zero.
export function percent(x) {
  if (!isNumber(x)) return NONE;
  const p = x * 100;
  if (p > 0 && p < 0.01) return `<0.01${GAP}%`;
  return `${digits(p)}${GAP}%`;
}

// The two largest units: "3 d 4 h", "12 min 5 s", "1.2 s".
export function duration(x) {
  if (!isNumber(x)) return NONE;
  if (x < 999.5) return ms(x);
  const s = x / 1000;
  if (s < 9.95) return `${digits(Math.round(s * 10) / 10)}${GAP}s`;
  const whole = Math.round(s);
  const steps = [
    [86400, 'd'],
    [3600, 'h'],
    [60, 'min'],
    [1, 's'],
  ];
  const first = steps.findIndex(([size]) => whole >= size);
  const [size, unit] = steps[first];
  const big = `${Math.floor(whole / size)}${GAP}${unit}`;
  if (first === steps.length - 1) return big;
  const [nextSize, nextUnit] = steps[first + 1];
  const rest = Math.floor((whole % size) / nextSize);
  return rest ? `${big} ${rest}${GAP}${nextUnit}` : big;
}

export function ago(then, now) {
  const d = Math.max(0, now - then);
  return d < 1500 ? 'just now' : `${duration(Math.floor(d / 1000) * 1000)} ago`;
}

const clockFormat = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const stampFormat = new Intl.DateTimeFormat('en-CA', {
  year: 'numeric',
  month: '2-digit',
  day: '2-digit',
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  hourCycle: 'h23',
});

export const clock = (t) => clockFormat.format(new Date(t));
export const stamp = (t) => stampFormat.format(new Date(t)).replace(',', '');

// [-1, 4] as "any × 4"; a scalar has no dimensions.
export function shape(dims) {
  if (!Array.isArray(dims) || dims.length === 0) return 'scalar';
  return dims.map((d) => (d < 0 ? 'any' : String(d))).join(' × ');
}

export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;
