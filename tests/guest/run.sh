#!/usr/bin/env bash
#
# Runs a command in a Debian 12 guest with Debian's own 6.1 kernel, the oldest kernel that is
# supported. The guest is emulated in software (qemu, TCG), so it needs no KVM and runs anywhere.
#
# Usage: tests/guest/run.sh --payload DIR --out FILE [--timeout SECONDS] [--mirror URL]
#                           -- COMMAND...
#
#   --payload DIR      copied to a disk, which the guest mounts writable at /payload
#   --out FILE         receives the guest's console, which also goes to standard output
#   --timeout SECONDS  bound on the guest's whole life, boot included (default 1800)
#   --mirror URL       Debian mirror; by default the one that apt's sources name for bookworm
#
# COMMAND runs as root in /payload, with /payload/bin and /payload first in PATH, no terminal
# input, nofile 1048576 and memlock unlimited. A single argument is a line of bash; several are a
# program and its arguments, passed on as they are.
#
# Exit status: that of COMMAND. Besides: 64 usage, 69 something needed is not to be had, 70 the
# guest ended without a status (the console says why), 124 out of time.
#
# The first run installs what is missing (apt-get, which may not remove anything for it) and builds
# a root image with debootstrap; both need root. The image is kept in
# ${XDG_CACHE_HOME:-$HOME/.cache}/ringmesh-guest: a change of what goes into it makes a new one,
# and removing the folder makes the next run build it afresh. Writes to the root disk and to the
# payload are lost when the guest ends. Runs may overlap.
#
# Left out on purpose: a network other than the loopback; systemd, udev and a login; files out of
# the guest (print what is wanted); any meaning of timings, which are those of an emulator; any
# processor but amd64. CPU mitigations and watchdogs are off, because they only slow an emulator.

set -euo pipefail

readonly SUITE=bookworm
readonly KERNEL_SERIES=6.1
readonly TIMEOUT_S_DEFAULT=1800
readonly KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
# What has to be there (a command or a file), and the package that brings it.
readonly NEEDED=(qemu-system-x86_64=qemu-system-x86 debootstrap=debootstrap mke2fs=e2fsprogs
    cpio=cpio "$KEYRING=debian-archive-keyring")

payload='' out='' mirror='' timeout_s=$TIMEOUT_S_DEFAULT
command=()
scratch='' build='' guest_pid=''

main() {
    parse "$@"
    trap cleanup EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    trap 'exit 129' HUP
    install_missing
    local key cache
    key=$(declare -f build_image build_root build_initramfs guest_stage1 guest_init | sha256sum)
    cache=${XDG_CACHE_HOME:-$HOME/.cache}/ringmesh-guest
    ensure_image "$cache" "$cache/$SUITE-$KERNEL_SERIES-${key:0:12}"
    scratch=$(mktemp -d "${TMPDIR:-/tmp}/ringmesh-guest.XXXXXX")
    pack_payload "$scratch/payload.ext4"
    write_command >"$scratch/command"
    boot "$cache/$SUITE-$KERNEL_SERIES-${key:0:12}"
}

usage() {
    say "$1"
    say "usage: $0 --payload DIR --out FILE [--timeout SECONDS] [--mirror URL] -- COMMAND..."
    exit 64
}

parse() {
    while [ $# -gt 0 ]; do
        case $1 in
            --payload | --out | --timeout | --mirror)
                [ $# -ge 2 ] || usage "$1 needs a value"
                case $1 in
                    --payload) payload=$2 ;;
                    --out) out=$2 ;;
                    --timeout) timeout_s=$2 ;;
                    --mirror) mirror=$2 ;;
                esac
                shift 2
                ;;
            --)
                shift
                command=("$@")
                break
                ;;
            *) usage "unknown argument: $1" ;;
        esac
    done
    [ -n "$payload" ] || usage '--payload is missing'
    [ -d "$payload" ] || usage "--payload: not a folder: $payload"
    [ -n "$out" ] || usage '--out is missing'
    : >"$out" || usage "--out: cannot write $out"
    [[ $timeout_s =~ ^[1-9][0-9]{0,5}$ ]] || usage "--timeout: not a number of seconds: $timeout_s"
    [ ${#command[@]} -gt 0 ] || usage 'a command is missing after --'
}

say() { printf 'guest: %s\n' "$*" >&2; }

die() {
    say "$1"
    exit "${2:-69}"
}

# shellcheck disable=SC2329 # The trap on EXIT calls it.
cleanup() {
    trap '' INT TERM HUP
    if [ -n "$guest_pid" ]; then
        kill "$guest_pid" 2>/dev/null || true
        wait "$guest_pid" 2>/dev/null || true
    fi
    # Mounts of the build live in a mount namespace of their own; --one-file-system is the
    # second lock on that door.
    local dir
    for dir in "$scratch" "$build"; do
        [ -z "$dir" ] || rm -rf --one-file-system -- "$dir"
    done
}

# --- what the host needs ------------------------------------------------------------------------

install_missing() {
    local entry missing=()
    PATH=$PATH:/usr/sbin:/sbin
    for entry in "${NEEDED[@]}"; do
        [ -e "${entry%%=*}" ] || command -v "${entry%%=*}" >/dev/null || missing+=("${entry#*=}")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null || die "no apt-get; install by hand: ${missing[*]}"
    [ "$(id -u)" = 0 ] || die "as root: apt-get install ${missing[*]}"
    say "installing ${missing[*]}"
    scratch=$(mktemp -d "${TMPDIR:-/tmp}/ringmesh-guest.XXXXXX")
    apt_install "${missing[@]}" ||
        { apt_update && apt_install "${missing[@]}"; } ||
        apt_install_backports "${missing[@]}" || {
        cat "$scratch/apt.log" >&2
        die "apt-get cannot install ${missing[*]} without removing other packages, or at all"
    }
    rm -rf -- "$scratch"
    scratch=''
}

# What the host has stays: apt-get may add packages, not take any away.
apt_install() {
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends --no-remove \
        -o DPkg::Lock::Timeout=600 "$@" >>"$scratch/apt.log" 2>&1
}

# A host that has qemu-utils from backports cannot have the emulator from anywhere else. Folders
# of its own keep backports out of the sources of the host.
apt_install_backports() {
    local codename url apt=$scratch/apt
    codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
    url=$(mirror_of_apt "$codename")
    [ -n "$url" ] || return 1
    mkdir -p "$apt/lists/partial" "$apt/archives/partial"
    local suite options=(-o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=-
        -o "Dir::State::lists=$apt/lists" -o "Dir::Cache::archives=$apt/archives"
        -o APT::Sandbox::User=root)
    for suite in "$codename" "$codename-backports"; do
        echo "deb [signed-by=$KEYRING] $url $suite main"
    done >"$apt/sources.list"
    say "trying $codename-backports"
    apt-get "${options[@]}" update -qq >>"$scratch/apt.log" 2>&1 &&
        apt_install "${options[@]}" -t "$codename-backports" "$@"
}

# apt-get waits for the lock of dpkg, but not for that of the lists.
apt_update() {
    local try
    for try in 1 2 3 4 5 6; do
        apt-get update -qq >&2 && return 0
        [ "$try" = 6 ] || sleep 10
    done
    return 1
}

# The first http mirror that apt's own sources name for a release of Debian.
mirror_of_apt() {
    command -v apt-get >/dev/null || return 0
    # shellcheck disable=SC2016 # apt-get replaces $(…) itself.
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' \
        "Codename: $1" 'Component: main' | grep -m 1 -E '^https?://' || true
}

# --- the image, built once ----------------------------------------------------------------------

ensure_image() {
    local cache=$1 image=$2
    [ ! -d "$image" ] || return 0
    [ "$(id -u)" = 0 ] || die 'the first run builds the root image and has to be root'
    mkdir -p "$cache"
    exec 9>"$cache/lock"
    flock 9
    if [ ! -d "$image" ]; then
        [ -n "$mirror" ] || mirror=$(mirror_of_apt "$SUITE")
        [ -n "$mirror" ] || { apt_update && mirror=$(mirror_of_apt "$SUITE"); } || true
        [ -n "$mirror" ] || die "apt's sources name no mirror with $SUITE; pass --mirror URL"
        say "building the root image in $image (once)"
        build=$(mktemp -d "$cache/build.XXXXXX")
        build_image >"$build/log" 2>&1 || {
            tail -n 20 "$build/log" >&2
            die 'building the root image failed'
        }
        mv -T "$build/image" "$image"
        rm -rf --one-file-system -- "$build"
        build=''
    fi
    exec 9>&-
}

# `||` at the call switches errexit off in here, hence the chains of &&.
build_image() {
    mkdir "$build/image" "$build/debs" &&
        build_root "$build/root" &&
        build_initramfs "$build/root" "$build/image/initrd" &&
        cp "$build"/root/boot/vmlinuz-* "$build/image/vmlinuz" &&
        rm -rf "$build"/root/boot/* &&
        mke2fs -q -t ext4 -O ^has_journal -m 0 -L guest-root -d "$build/root" \
            "$build/image/root.ext4" 2G
}

# Debian's minimal system, and beside it the kernel package, only unpacked: its own installation
# would build a general initramfs, which takes longer to make and to boot than all the rest.
build_root() {
    local root=$1 deb version
    local boot=(unshare --mount --propagation private
        debootstrap --arch=amd64 --variant=minbase "--cache-dir=$build/debs")
    "${boot[@]}" --download-only --include=linux-image-amd64 "$SUITE" "$build/fetch" "$mirror" &&
        "${boot[@]}" --include=busybox-static,iproute2,kmod,libstdc++6 "$SUITE" "$root" \
            "$mirror" || return 1
    deb=$(find "$build/debs" "$build/fetch" -name "linux-image-$KERNEL_SERIES.*.deb" -print -quit)
    [ -n "$deb" ] || { echo "no package of kernel $KERNEL_SERIES" && return 1; }
    dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$root" --keep-directory-symlink \
        --exclude='./lib/modules/*/kernel/sound' \
        --exclude='./lib/modules/*/kernel/drivers/gpu' \
        --exclude='./lib/modules/*/kernel/drivers/media' \
        --exclude='./lib/modules/*/kernel/drivers/net/ethernet' \
        --exclude='./lib/modules/*/kernel/drivers/net/wireless' || return 1
    version=$(basename "$root"/lib/modules/*)
    chroot "$root" depmod "$version" || return 1
    rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,man,locale}
    # debootstrap copies these from the host, which is none of the guest's business.
    : >"$root/etc/resolv.conf"
    echo guest >"$root/etc/hostname"
    printf '127.0.0.1 localhost\n::1 localhost\n' >"$root/etc/hosts"
    mkdir "$root/payload"
    guest_init >"$root/sbin/guest-init" && chmod 755 "$root/sbin/guest-init"
}

# Debian's kernel has its disk drivers and ext4 as modules: load just these, then go on to the
# root disk. crc32c is asked for by name, so ext4's dependencies do not list it.
build_initramfs() {
    local root=$1 initrd=$2 stage=$build/initramfs version module
    version=$(basename "$root"/lib/modules/*)
    mkdir -p "$stage"/{bin,dev,modules,root} &&
        cp "$root/bin/busybox" "$stage/bin/" &&
        chroot "$root" modprobe -S "$version" --show-depends -a \
            virtio_pci virtio_blk crc32c_generic ext4 >"$build/depends" || return 1
    while read -r _ module; do
        [ -f "$root/$module" ] || return 1
        [ ! -e "$stage/modules/$(basename "$module")" ] || continue
        cp "$root/$module" "$stage/modules/" || return 1
        basename "$module"
    done < <(grep '^insmod ' "$build/depends" | sed 's/ *$//') >"$stage/modules/order"
    guest_stage1 >"$stage/init" && chmod 755 "$stage/init" &&
        (cd "$stage" && find . -print0 | cpio --null -o -H newc --quiet) >"$initrd"
}

guest_stage1() {
    cat <<'END'
#!/bin/busybox sh
busybox mount -t devtmpfs dev /dev
while read -r module; do
    busybox insmod "/modules/$module" || echo "guest: cannot load $module"
done </modules/order
busybox mount -t ext4 -o rw,noatime /dev/vda /root || echo 'guest: cannot mount the root disk'
busybox mount --move /dev /root/dev
exec busybox switch_root /root /sbin/guest-init
END
}

# Process 1 of the guest. The status goes to the second serial line, where nothing that the
# command prints can be mistaken for it, and to the console for the reader.
guest_init() {
    cat <<'END'
#!/bin/bash
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
finish() {
    echo "guest: exit status $1"
    echo "$1" >/dev/ttyS1
    busybox poweroff -f
}
fail() {
    echo "guest: $1"
    busybox poweroff -f
}
mount -t proc proc /proc
mount -t sysfs sys /sys
mkdir -p /dev/pts /dev/shm
mount -t devpts dev /dev/pts
mount -t tmpfs shm /dev/shm
mount -t tmpfs run /run
mount -t tmpfs tmp /tmp
mount -t cgroup2 cgroup /sys/fs/cgroup
ln -sf /proc/self/fd /dev/fd
ln -sf /proc/self/fd/0 /dev/stdin
ln -sf /proc/self/fd/1 /dev/stdout
ln -sf /proc/self/fd/2 /dev/stderr
stty -F /dev/ttyS0 -onlcr cols 100 2>/dev/null
stty -F /dev/ttyS1 raw 2>/dev/null
hostname guest
ip link set lo up || fail 'no loopback'
echo 65535 >/proc/sys/net/core/somaxconn
ulimit -n 1048576 && ulimit -l unlimited && ulimit -u unlimited || fail 'cannot raise limits'
modprobe qemu_fw_cfg || fail 'cannot read the command'
cat /sys/firmware/qemu_fw_cfg/by_name/opt/guest/command/raw >/run/command || fail 'no command'
mount -t ext4 -o rw,noatime /dev/vdb /payload || fail 'cannot mount the payload'
cd /payload || fail 'no payload'
read -r up _ </proc/uptime
echo "guest: Debian $(</etc/debian_version), kernel $(uname -r), up after $up s"
env -i PATH="/payload/bin:/payload:$PATH" HOME=/root TMPDIR=/tmp LANG=C.UTF-8 NO_COLOR=1 \
    TERM=dumb bash /run/command </dev/null
status=$?
read -r end _ </proc/uptime
echo "guest: the command ended at $end s"
finish "$status"
END
}

# --- one run ------------------------------------------------------------------------------------

# Each file takes whole blocks; a quarter more and 64 MiB leave room for metadata and for writing.
pack_payload() {
    local files kib
    read -r files kib < <(find "$payload" -printf '%s\n' |
        awk '{ n++; k += 4 * int(($1 + 4095) / 4096) } END { print n, int(k * 1.25) + 65536 }')
    mke2fs -q -t ext4 -b 4096 -O ^has_journal -m 0 -N $((files + 4096)) -L payload \
        -d "$payload" "$1" "${kib}k" >/dev/null || die 'cannot pack the payload'
}

write_command() {
    if [ ${#command[@]} = 1 ]; then
        printf '%s\n' "${command[0]}"
    else
        printf '%q ' "${command[@]}"
        printf '\n'
    fi
}

boot() {
    local image=$1 emulator=0 tee_pid status
    local append='console=ttyS0 quiet panic=-1 mitigations=off nowatchdog audit=0 no_timer_check'
    append+=' rcupdate.rcu_cpu_stall_suppress=1'
    local disk='if=virtio,format=raw,cache=unsafe'
    # shellcheck disable=SC2054 # The commas are qemu's.
    local args=(-nodefaults -no-user-config -machine pc -accel tcg,thread=multi -cpu max
        -smp 2 -m 2048 -nic none -no-reboot
        -display none -vga none -monitor none
        -chardev stdio,id=console,signal=off -serial chardev:console
        -chardev "file,id=status,path=${scratch//,/,,}/status" -serial chardev:status
        -fw_cfg "name=opt/guest/command,file=${scratch//,/,,}/command"
        -kernel "$image/vmlinuz" -initrd "$image/initrd" -append "$append"
        -drive "file=${image//,/,,}/root.ext4,$disk,snapshot=on"
        -drive "file=${scratch//,/,,}/payload.ext4,$disk")
    exec 8> >(exec tee -- "$out")
    tee_pid=$!
    TMPDIR=$scratch timeout --kill-after=10 "$timeout_s" qemu-system-x86_64 "${args[@]}" \
        </dev/null >&8 &
    guest_pid=$!
    exec 8>&-
    wait "$guest_pid" || emulator=$?
    guest_pid=''
    wait "$tee_pid" || true
    case $emulator in
        0) ;;
        124 | 137) die "out of time after $timeout_s s" 124 ;;
        *) die "the emulator ended with status $emulator" 70 ;;
    esac
    status=$(tr -dc 0-9 <"$scratch/status")
    [ -n "$status" ] || die 'the guest ended without a status; see its console' 70
    exit "$status"
}

main "$@"
