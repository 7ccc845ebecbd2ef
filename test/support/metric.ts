/** Of the broker whose admin port that is: the sum over all labels, or over the samples whose labels contain the text. */
export async function metricOf(adminUrl: string, name: string, label = ''): Promise<number> {
  const answer = await fetch(`${adminUrl}/metrics`)
  const samples = (await answer.text())
    .split('\n')
    .filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `))
  if (samples.length === 0) throw new Error(`there is no metric ${name}`)
  return samples
    .filter((line) => line.includes(label))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0)
}
