export const title = 'tile'; export async function show(root, context) { root.append('tile'); }
