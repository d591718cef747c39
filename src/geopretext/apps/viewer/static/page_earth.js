export const title = "Earth";
export async function show(root) { root.append("Earth"); }
