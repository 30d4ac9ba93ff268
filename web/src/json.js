// Lays JSON text out for reading without touching its numbers: a 64-bit integer or a float with 17 digits is shown exactly as
// the server wrote it. A group that fits on a line stays on one; long lists of numbers fill their lines. Text that is not JSON
// comes back as it is.
const WIDTH = 88;
const PIECES = /"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\],:]|[^\s{}[\],:"]+/g;

const isOpen = (piece) => piece === '{' || piece === '[';
const isClose = (piece) => piece === '}' || piece === ']';

// For each opening bracket: how long its whole group is when it is written on one line; endless when it is not closed.
function lineLengths(pieces) {
  const lengths = new Array(pieces.length).fill(Infinity);
  const open = [];
  let at = 0;
  pieces.forEach((piece, i) => {
    if (isOpen(piece)) open.push([i, at]);
    at += piece === ',' || piece === ':' ? 2 : piece.length;
    if (isClose(piece)) {
      const [start, from] = open.pop();
      lengths[start] = at - from;
    }
  });
  return lengths;
}

class Writer {
  out = '';
  column = 0;
  depth = 0;

  add(s) {
    this.out += s;
    this.column += s.length;
  }

  newLine() {
    this.out += `\n${'  '.repeat(this.depth)}`;
    this.column = this.depth * 2;
  }
}

// On one line, without spaces that mean nothing; for commands to copy.
export function compact(text) {
  try {
    JSON.parse(text);
  } catch {
    return text;
  }
  return text.match(PIECES).join('');
}

export function layOut(text) {
  try {
    JSON.parse(text);
  } catch {
    return text;
  }
  return write(text.match(PIECES));
}

// The beginning of a JSON text that is too long to show: up to its last whole element.
export function layOutStart(text) {
  return write(text.slice(0, text.lastIndexOf(',') + 1).match(PIECES) ?? [text]);
}

function write(pieces) {
  const lengths = lineLengths(pieces);
  const w = new Writer();
  const spread = []; // for each open group: does it take several lines?
  pieces.forEach((piece, i) => {
    const next = pieces[i + 1];
    if (isOpen(piece)) {
      const wide = w.column + lengths[i] > WIDTH && !isClose(next);
      w.add(piece);
      spread.push(wide);
      if (wide) {
        w.depth++;
        w.newLine();
      }
    } else if (isClose(piece)) {
      if (spread.pop()) {
        w.depth--;
        w.newLine();
      }
      w.add(piece);
    } else if (piece === ',') {
      w.add(',');
      const flows = /^[-0-9tfn]/.test(next ?? '') && pieces[i + 2] !== ':';
      const full = w.column + (next?.length ?? 0) + 2 > WIDTH;
      if (spread.at(-1) && (!flows || full)) w.newLine();
      else w.add(' ');
    } else {
      w.add(piece === ':' ? ': ' : piece);
    }
  });
  return w.out;
}
