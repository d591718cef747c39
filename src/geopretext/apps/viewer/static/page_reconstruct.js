export const title = 'reconstruct'; export async function show(root, context) { root.append('reconstruct'); }
