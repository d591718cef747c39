export const title = 'training'; export async function show(root, context) { root.append('training'); }
