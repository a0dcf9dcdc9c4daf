// Which words two answers do not share.

/** Above so many cells, the table of the comparison would make the page wait. */
const MOST_CELLS = 4e6;

/**
 * Return both texts as lists of [piece, shared], by the longest common subsequence of their words;
 * null where the texts are too long to compare.
 */
function wordDiff(one, other) {
  const a = one.match(/\s+|[^\s]+/g) ?? [];
  const b = other.match(/\s+|[^\s]+/g) ?? [];
  const [from, to] = [wordsOf(a), wordsOf(b)];
  const [n, m] = [from.length, to.length];
  if ((n + 1) * (m + 1) > MOST_CELLS) return null;
  const width = m + 1;
  const longest = new Uint32Array((n + 1) * width);
  for (let i = n - 1; i >= 0; i--) {
    for (let j = m - 1; j >= 0; j--) {
      longest[i * width + j] = a[from[i]] === b[to[j]]
        ? longest[(i + 1) * width + j + 1] + 1
        : Math.max(longest[(i + 1) * width + j], longest[i * width + j + 1]);
    }
  }
  const shared = [new Set(), new Set()];
  for (let i = 0, j = 0; i < n && j < m;) {
    if (a[from[i]] === b[to[j]]) {
      shared[0].add(from[i++]);
      shared[1].add(to[j++]);
    } else if (longest[(i + 1) * width + j] >= longest[i * width + j + 1]) i++;
    else j++;
  }
  return [a, b].map((pieces, side) => pieces.map((piece, at) => [piece, shared[side].has(at) || /^\s/.test(piece)]));
}

/** Return the places of the pieces that are words. */
function wordsOf(pieces) {
  return pieces.flatMap((piece, at) => (/^\s/.test(piece) ? [] : [at]));
}

/** Fill an element with the pieces of a text, those of one side only marked by a class. */
function appendPieces(element, pieces, name) {
  for (let at = 0; at < pieces.length;) {
    const shared = pieces[at][1];
    let text = "";
    // Words that follow each other are marked as one, the space between them included.
    const goesOn = (i) => pieces[i][1] === shared || (!shared && /^\s/.test(pieces[i][0]) && i + 1 < pieces.length && !pieces[i + 1][1]);
    while (at < pieces.length && goesOn(at)) text += pieces[at++][0];
    if (shared) appendText(element, text);
    else {
      const mark = make("span", { class: name });
      appendText(mark, text);
      element.append(mark);
    }
  }
}
