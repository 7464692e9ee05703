#!/usr/bin/env bash
# Prepares a network interface for xlb, prints each change with the old value, and can take every one back.
#
# Old values are kept under /run/xlb from the first run on: running it again changes nothing twice, and
# --undo returns to what was there before the first run. A step that an interface does not allow is told
# and skipped; it is not an error.
set -euo pipefail

usage() {
    cat <<'USAGE'
usage: scripts/setup-xdp.sh INTERFACE [options]

  --queues N            queues of the interface (default: the number of cores, as far as the driver goes)
  --source-ports LO-HI  ports that xlb connects to servers from; kept from the kernel (default 16384-32767)
  --rt-softirq PRIO     real-time priority of the cores' softirq threads (default 50; 0 leaves them alone):
                        a core that polls would else keep the kernel's half of the packet path waiting
  --threaded-napi       the other lever: NAPI threads, one per queue, pinned, with the priority above
  --hugepages N         at least N huge pages of 2 MiB (default: leave as they are)
  --no-probe            do not try whether the driver takes an XDP program
  --undo                restore everything that earlier runs changed for this interface
  --dry-run             say what would change, change nothing
USAGE
}

die() {
    echo "setup-xdp: $*" >&2
    exit 1
}
say() { printf '%-9s %s\n' "$1" "$2"; }
skip() { say skipped "$*"; }

iface=
queues=
source_ports=16384-32767
priority=50
threaded=0
hugepages=
probe=1
undo=0
dry_run=0
state_dir=/run/xlb

# ---- state: lines of KIND, WHAT, OLD VALUE, separated by tabs; only the first value of a (KIND, WHAT) is the old one

remember() { # FILE KIND WHAT OLD
    mkdir -p "$state_dir"
    if ! awk -F'\t' -v k="$2" -v w="$3" '$1 == k && $2 == w { found = 1 } END { exit !found }' "$1" 2>/dev/null; then
        printf '%s\t%s\t%s\n' "$2" "$3" "$4" >>"$1"
    fi
}

forget() { # FILE KIND WHAT OLD: of a change that did not come about
    grep -vxF "$2"$'\t'"$3"$'\t'"$4" "$1" >"$1.new" || true
    mv "$1.new" "$1"
}

# change FILE KIND WHAT OLD NEW: what all steps go through.
change() {
    if [ "$4" = "$5" ]; then
        say unchanged "$2 $3: ${4:-(empty)}"
    elif [ "$dry_run" = 1 ]; then
        say "would set" "$2 $3: ${4:-(empty)} -> ${5:-(empty)}"
    else
        # Kept before the change: an interruption between the two must not lose the old value.
        remember "$1" "$2" "$3" "$4"
        if apply "$2" "$3" "$5"; then
            say set "$2 $3: ${4:-(empty)} -> ${5:-(empty)}"
        else
            forget "$1" "$2" "$3" "$4"
            skip "$2 $3: stays ${4:-(empty)}, the system refused ${5:-(empty)}"
        fi
    fi
}

apply() { # KIND WHAT VALUE
    case $1 in
        channels) ethtool -L "$iface" "$2" "$3" ;;
        offload) ethtool -K "$iface" "$2" "$3" >/dev/null ;;
        ports | pages | napi | irq) echo "$3" >"$2" ;;
        softirq | thread) set_scheduling "$2" "$3" ;;
        cores) taskset -pc "$3" "$(pid_of "$2")" >/dev/null ;;
    esac 2>/dev/null
}

# ---- threads of the kernel, by name: their process ids do not outlive a reboot or a change of mode

pid_of() { # NAME
    local comm
    for comm in /proc/[0-9]*/comm; do
        if [ "$(cat "$comm" 2>/dev/null)" = "$1" ]; then
            comm=${comm#/proc/}
            echo "${comm%/comm}"
            return
        fi
    done
    return 1
}

scheduling_of() { # NAME -> "SCHED_FIFO 50"
    local pid
    pid=$(pid_of "$1") && chrt -p "$pid" | awk '/policy/ { policy = $NF } /priority/ { print policy, $NF }'
}

set_scheduling() { # NAME "POLICY PRIORITY"
    local pid policy=${2% *}
    pid=$(pid_of "$1") || return
    policy=${policy#SCHED_}
    chrt "--${policy,,}" -p "${2##* }" "$pid"
}

# ---- steps

queue_limits() { # field of `ethtool -l`: prints "MAXIMUM CURRENT", nothing where the driver has none
    ethtool -l "$iface" 2>/dev/null | awk -v f="$1:" '$1 == f && $2 ~ /^[0-9]+$/ { n[++i] = $2 } END { if (i == 2 && n[1] > 0) print n[1], n[2] }'
}

set_queues() {
    local wanted=${queues:-$(nproc)} kind found=0 limits max current
    for kind in Combined RX TX; do
        limits=$(queue_limits "$kind")
        [ -n "$limits" ] || continue
        found=1
        read -r max current <<<"$limits"
        if [ "$wanted" -gt "$max" ]; then
            say note "the driver has at most $max ${kind,,} queues, fewer than $wanted: xlb can use $max workers on $iface"
            change "$own" channels "${kind,,}" "$current" "$max"
        else
            change "$own" channels "${kind,,}" "$current" "$wanted"
        fi
        [ "$kind" != Combined ] || break
    done
    [ "$found" = 1 ] || skip "queues: the driver does not let them be set; $iface has $(find "/sys/class/net/$iface/queues" -name 'rx-*' | wc -l)"
}

# Segments that were merged, or whose VLAN tag was taken away, are not what was on the wire.
set_offloads() {
    local feature value fixed
    for feature in large-receive-offload rx-gro-hw generic-receive-offload rx-vlan-offload; do
        read -r value fixed < <(ethtool -k "$iface" 2>/dev/null | sed -n "s/^$feature: //p") || value=
        if [ -z "$value" ]; then
            continue
        elif [ "$value" = on ] && [ -n "$fixed" ]; then
            skip "offload $feature: on, and the driver has it fixed"
        else
            change "$own" offload "$feature" "$value" off
        fi
    done
}

# The kernel keeps the list sorted and merged, whatever is written: compare what it would read back.
set_source_ports() {
    local file=/proc/sys/net/ipv4/ip_local_reserved_ports old merged
    old=$(cat "$file")
    merged=$(tr , '\n' <<<"$old,$source_ports" | awk -F- '
        NF { hi = NF > 1 ? $2 : $1; for (p = $1 + 0; p <= hi + 0; p++) port[p] = 1 }
        END {
            for (p = 0; p <= 65536; p++) {
                if ((p in port) && !start) start = p
                if (!(p in port) && start) {
                    out = out (out == "" ? "" : ",") (start == p - 1 ? start : start "-" (p - 1))
                    start = 0
                }
            }
            print out
        }')
    change "$shared" ports "$file" "$old" "$merged"
}

set_softirq() {
    local core name
    [ "$priority" != 0 ] || return 0
    for ((core = 0; core < used_cores; core++)); do
        name=ksoftirqd/$core
        if pid_of "$name" >/dev/null; then
            change "$shared" softirq "$name" "$(scheduling_of "$name")" "SCHED_FIFO $priority"
        else
            skip "softirq $name: no such thread to be seen from here"
        fi
    done
}

set_threaded_napi() {
    local file=/sys/class/net/$iface/threaded name core=0
    if [ ! -e "$file" ]; then
        skip "threaded NAPI: this kernel has no $file"
        return
    fi
    change "$own" napi "$file" "$(cat "$file")" 1
    [ "$dry_run" = 0 ] || return 0
    while read -r name; do
        # Undone with the threads themselves, when threaded NAPI is switched off.
        [ "$priority" = 0 ] || apply thread "$name" "SCHED_FIFO $priority" || skip "thread $name: priority $priority was refused"
        apply cores "$name" "$((core % used_cores))" || skip "thread $name: cannot be pinned"
        say set "thread $name: core $((core % used_cores)), priority $priority"
        core=$((core + 1))
    done < <(cat /proc/[0-9]*/comm 2>/dev/null | grep "^napi/$iface-" | sort -t- -k2n)
    [ "$core" -gt 0 ] || say note "no NAPI thread of $iface yet: they start with the interface or with its XDP program; run this again then"
}

# Interrupts by queue: the number at the end of the name that /proc/interrupts gives them.
irqs_of_queues() {
    local dir irq name
    for dir in "/sys/class/net/$iface/device/msi_irqs" "/sys/class/net/$iface/device/../msi_irqs"; do
        [ -d "$dir" ] || continue
        for irq in "$dir"/*; do
            irq=${irq##*/}
            name=$(awk -v irq="$irq:" '$1 == irq { print $NF }' /proc/interrupts)
            name=${name%@*}
            if [[ $name =~ (TxRx|Tx-Rx|rx|tx|input|output|comp|$iface)[-._]?([0-9]+)$ ]]; then
                echo "$irq ${BASH_REMATCH[2]} $name"
            fi
        done
        return
    done
}

set_irqs() {
    local irq queue name file any=0
    while read -r irq queue name; do
        any=1
        file=/proc/irq/$irq/smp_affinity_list
        change "$own" irq "$file" "$(cat "$file")" "$((queue % used_cores))"
    done < <(irqs_of_queues)
    if [ "$any" = 0 ]; then
        skip "interrupt affinity: $iface has no interrupt per queue"
    elif pid_of irqbalance >/dev/null; then
        say note "irqbalance is running and will move these interrupts again: stop it, or ban them from it"
    fi
}

set_hugepages() {
    local file=/proc/sys/vm/nr_hugepages old
    [ -n "$hugepages" ] || return 0
    old=$(cat "$file")
    change "$shared" pages "$file" "$old" "$((old > hugepages ? old : hugepages))"
    if [ "$dry_run" = 0 ] && [ "$(cat "$file")" -lt "$hugepages" ]; then
        say note "only $(cat "$file") of $hugepages huge pages could be had: memory is fragmented"
    fi
}

# ---- what the driver can do

known_driver() {
    case $1 in
        i40e | ice | ixgbe | igb | igc | mlx5_core | stmmac | st_gmac | nfp | gve | fsl_dpaa2_eth) echo "known for XDP in the driver, with zero-copy" ;;
        virtio_net) echo "known for XDP in the driver if there is a transmit queue per core to spare; zero-copy from Linux 6.11" ;;
        ena | bnxt_en | mlx4_en | ixgbevf | qede | sfc | hv_netvsc | mana | vmxnet3 | mvneta | mvpp2 | nicvf | atlantic | thunder-nicvf | tun | veth)
            echo "known for XDP in the driver, without zero-copy (frames are copied)" ;;
        *) echo "not known: if it lacks XDP, xlb falls back to generic mode, which is slow" ;;
    esac
}

# Attaches a program that passes everything, for a moment. Nothing is replaced.
probe_xdp() {
    local dir mode
    if ip link show "$iface" | grep -q 'prog/xdp'; then
        say xdp "a program is attached already; not probed"
        return
    fi
    if ! command -v clang >/dev/null; then
        skip "probing for XDP: clang is not installed"
        return
    fi
    dir=$(mktemp -d)
    # shellcheck disable=SC2064 # the directory of now
    trap "rm -rf '$dir'" EXIT
    echo '__attribute__((section("xdp"), used)) int pass(void *frame) { return 2; /* XDP_PASS */ }' >"$dir/pass.c"
    clang -O2 -target bpf -c "$dir/pass.c" -o "$dir/pass.o"
    for mode in xdpdrv xdpgeneric; do
        if ip link set dev "$iface" "$mode" obj "$dir/pass.o" sec xdp 2>"$dir/error"; then
            ip link set dev "$iface" "$mode" off
            case $mode in
                xdpdrv) say xdp "the driver takes an XDP program" ;;
                xdpgeneric) say xdp "ONLY GENERIC XDP works on $iface as it is: a fraction of the speed" ;;
            esac
            return
        fi
        [ "$mode" != xdpdrv ] || say xdp "the driver refused: $(grep -v '^libbpf' "$dir/error" | tail -n 1)"
    done
    say xdp "NO XDP AT ALL on $iface: xlb cannot use this interface"
}

report_driver() {
    local driver mtu
    driver=$(ethtool -i "$iface" 2>/dev/null | sed -n 's/^driver: //p') || true
    mtu=$(cat "/sys/class/net/$iface/mtu")
    say driver "${driver:-unknown}: $(known_driver "$driver")"
    [ "$mtu" -le 3498 ] || say note "MTU $mtu: a packet does not fit one frame (3498 at most); drivers refuse XDP then or need multi-buffer"
}

# ---- undo

restore() { # FILE
    local kind what old
    [ -e "$1" ] || return 0
    while IFS=$'\t' read -r kind what old; do
        if [ "$dry_run" = 1 ]; then
            say "would set" "$kind $what: back to ${old:-(empty)}"
        elif apply "$kind" "$what" "$old"; then
            say restored "$kind $what: ${old:-(empty)}"
        else
            skip "$kind $what: the system refused ${old:-(empty)}"
        fi
    done < <(tac "$1")
    [ "$dry_run" = 1 ] || rm -f "$1"
}

undo_all() {
    [ -e "$own" ] || [ -e "$shared" ] || { say unchanged "nothing was set up for $iface"; return; }
    restore "$own"
    if [ -z "$(find "$state_dir" -name "setup-$netns-*.state" ! -path "$own" 2>/dev/null)" ]; then
        restore "$shared"
    else
        say note "another interface is set up still: ports, softirq priority and huge pages stay"
    fi
}

# ---- command line

number() { # OPTION VALUE LOW HIGH
    if ! [[ $2 =~ ^[0-9]{1,7}$ ]] || [ "$2" -lt "$3" ] || [ "$2" -gt "$4" ]; then
        die "$1 expects a number from $3 to $4, not '$2'"
    fi
}

while [ $# -gt 0 ]; do
    case $1 in
        --queues | --source-ports | --rt-softirq | --hugepages)
            [ $# -gt 1 ] || die "$1 expects a value"
            case $1 in
                --queues) number "$1" "$2" 1 1024 && queues=$2 ;;
                --rt-softirq) number "$1" "$2" 0 99 && priority=$2 ;;
                --hugepages) number "$1" "$2" 0 1048576 && hugepages=$2 ;;
                --source-ports)
                    [[ $2 =~ ^([0-9]{1,5})-([0-9]{1,5})$ ]] || die "--source-ports expects LO-HI, not '$2'"
                    number "$1" "${BASH_REMATCH[1]}" 1 65535
                    [[ $2 =~ ^([0-9]+)-([0-9]+)$ ]] && number "$1" "${BASH_REMATCH[2]}" "${BASH_REMATCH[1]}" 65535
                    source_ports=$2
                    ;;
            esac
            shift 2
            ;;
        --threaded-napi) threaded=1 && shift ;;
        --no-probe) probe=0 && shift ;;
        --undo) undo=1 && shift ;;
        --dry-run) dry_run=1 && shift ;;
        -h | --help) usage && exit 0 ;;
        -*) die "unknown option '$1' (--help lists them)" ;;
        *)
            [ -z "$iface" ] || die "one interface at a time: '$iface' or '$1'?"
            iface=$1
            shift
            ;;
    esac
done
[ -n "$iface" ] || { usage >&2; exit 2; }
for tool in ethtool ip chrt taskset; do
    command -v "$tool" >/dev/null || die "'$tool' is not installed"
done
[ -e "/sys/class/net/$iface" ] || die "there is no interface '$iface' (ip -br link lists them)"
[ "$dry_run" = 1 ] || [ "$(id -u)" = 0 ] || die "must be root to change an interface; --dry-run needs no rights"

# Interfaces of different network namespaces may have the same name.
netns=$(stat -Lc %i /proc/self/ns/net)
own=$state_dir/setup-$netns-$iface.state
shared=$state_dir/setup-$netns.state

if [ "$undo" = 1 ]; then
    undo_all
    exit 0
fi
report_driver
set_queues
used_cores=$(find "/sys/class/net/$iface/queues" -name 'rx-*' | wc -l)
[ "$used_cores" -le "$(nproc)" ] || used_cores=$(nproc)
set_offloads
set_source_ports
if [ "$threaded" = 1 ]; then set_threaded_napi; else set_softirq; fi
set_irqs
set_hugepages
# Last: on some drivers a program fits only with fewer queues or without merging.
[ "$probe" = 0 ] || [ "$dry_run" = 1 ] || probe_xdp
