export const title = "Embedding";
export async function show(root) { root.append("Embedding"); }
