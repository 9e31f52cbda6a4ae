# behave.sh NAME OUTPUT CONTENT MEMORY: one job; its name says how it behaves
set -eu
name=$1
echo "$SLURM_JOB_ID" >> started/"$name"
try=$(wc -l < started/"$name")
case $name in
  once*) if [ "$try" = 1 ]; then echo "this fails the first time" >&2; exit 3; fi;;
  never*) echo "this fails every time" >&2; exit 3;;
  greedy*) python3 -c "
import time
held = bytearray(420_000_000)
held[::4096] = b'x' * len(held[::4096])
time.sleep(10)";;
  killed*) if [ "$try" = 1 ]; then # as the kernel does where a job takes too much memory: the batch script's shell
      pid=$$
      until grep -qs slurmstepd /proc/$(ps -o ppid= "$pid" | tr -d ' ')/comm; do pid=$(ps -o ppid= "$pid" | tr -d ' '); done
      kill -9 "$pid"; sleep 60
    fi;;
  child*) if [ "$try" = 1 ]; then python3 -c "import os; os.kill(os.getpid(), 9)"; fi;;
  brief*) sleep $((RANDOM % 5));;
  keys*) env > started/"$name".env;;
  held*) while [ ! -e go/"$name" ]; do sleep 0.2; done;;
esac
printf '%s %s\n' "$name" "$3" > "$2.part"
mv "$2.part" "$2"
