# shellcheck shell=bash
# The Vitess of infra/native/services, which reads this file: vtcombo, a whole cluster in one process, on one MySQL.
#
# Vitess does not run on MariaDB. Of Debian's suites only unstable has MySQL: its packages are unpacked into a folder, not
# installed. vtcombo is built from its Go module.
# shellcheck disable=SC2154 # dir and port are those of infra/native/services

vitess_version=v0.24.4
mysql_packages=http://deb.debian.org/debian
debian_keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# vtcombo refuses to run as root.
unprivileged=()
((EUID != 0)) || unprivileged=(setpriv --reuid=nobody --regid=nogroup --clear-groups)

need_mysql() {
    local unpacked=$dir/mysql apt=$dir/mysql-apt options package
    [[ ! -e $unpacked/.complete ]] || return 0
    [[ -e $debian_keyring && $(uname -m) == x86_64 ]] ||
        fail "vitess-mysql needs MySQL from Debian's packages for x86_64" "$debian_keyring was not found, or this is $(uname -m)"
    echo 'infra/native/services: downloading MySQL from Debian unstable' >&2
    rm -rf "$unpacked" "$apt"
    mkdir -p "$unpacked" "$apt/lists/partial" "$apt/cache/archives/partial"
    echo "deb [signed-by=$debian_keyring] $mysql_packages unstable main" >"$apt/sources.list"
    # With an empty list of installed packages, apt downloads every library of MySQL.
    : >"$apt/status"
    options=(-o "Dir::Etc::SourceList=$apt/sources.list" -o Dir::Etc::SourceParts=- -o "Dir::State::status=$apt/status"
        -o "Dir::State::Lists=$apt/lists" -o "Dir::Cache=$apt/cache" -o APT::Sandbox::User=root)
    { apt-get "${options[@]}" update &&
        apt-get "${options[@]}" install --yes --download-only --no-install-recommends mysql-server-core; } \
        >"$dir/mysql-apt.log" 2>&1 || fail 'apt-get could not download MySQL:' "$(tail -n 5 "$dir/mysql-apt.log")"
    for package in "$apt"/cache/archives/*.deb; do
        dpkg --extract "$package" "$unpacked"
    done
    rm -rf "$apt"
    touch "$unpacked/.complete"
}

need_vtcombo() {
    local module=$dir/vtcombo-module
    [[ ! -e $module/vtcombo-$vitess_version ]] || return 0
    command -v go >/dev/null || fail 'go was not found; it builds vtcombo' 'install Go 1.26 or later: https://go.dev/dl'
    echo "infra/native/services: building vtcombo $vitess_version, which takes some minutes" >&2
    rm -rf "$module"
    mkdir -p "$module"
    # `go install` refuses a module that excludes versions of others.
    (cd "$module" && go mod init vtcombo && go get "vitess.io/vitess/go/cmd/vtcombo@$vitess_version" &&
        go build -o "vtcombo-$vitess_version" vitess.io/vitess/go/cmd/vtcombo) >"$dir/vtcombo-module.log" 2>&1 ||
        fail 'go could not build vtcombo:' "$(tail -n 5 "$dir/vtcombo-module.log")"
}

# mysqld_command OPTION…: prints the command, one word a line. The libraries are those of its own suite.
mysqld_command() {
    local usr=$dir/mysql/usr
    local libraries=$usr/lib/x86_64-linux-gnu
    printf '%s\n' "${unprivileged[@]}" "$libraries/ld-linux-x86-64.so.2" --library-path "$libraries" \
        "$usr/sbin/mysqld" --no-defaults --basedir="$usr" --datadir="$dir/vitess-mysql/data" \
        --lc-messages-dir="$usr/share/mysql" --character-sets-dir="$usr/share/mysql/charsets" \
        --plugin-dir="$usr/lib/mysql/plugin" --secure-file-priv= "$@"
}

# own FOLDER: gives it to the user of the servers, who must be able to reach it.
own() {
    ((EUID == 0)) || return 0
    chown nobody:nogroup "$1"
    "${unprivileged[@]}" test -w "$1" || fail "the user nobody, who runs Vitess for root, cannot reach $1" \
        'set SLUICE_SERVICES to a folder that all users can read'
}

prepare_vitess_mysql() {
    local initialize
    own "$dir/vitess-mysql/data"
    cat >"$dir/vitess-mysql/init.sql" <<'SQL'
CREATE DATABASE IF NOT EXISTS _vt;
CREATE DATABASE IF NOT EXISTS vt_first_0;
CREATE DATABASE IF NOT EXISTS vt_second_0;
CREATE DATABASE IF NOT EXISTS `vt_sharded_-80`;
CREATE DATABASE IF NOT EXISTS `vt_sharded_80-`;
SQL
    [[ ! -e $dir/vitess-mysql/data/mysql ]] || return 0
    mapfile -t initialize < <(mysqld_command --initialize-insecure)
    "${initialize[@]}" >"$dir/vitess-mysql/install.log" 2>&1 ||
        fail 'vitess-mysql: could not create the data folder:' "$(tail -n 5 "$dir/vitess-mysql/install.log")"
}

prepare_vtcombo() {
    own "$dir/vtcombo/data"
    mkdir -p "$dir/vtcombo/schema/sharded"
    echo '{"sharded": true}' >"$dir/vtcombo/schema/sharded/vschema.json"
}

launch_vitess_mysql() {
    local serve
    # vtcombo uses the socket. Its path is relative to the data, because an absolute path could exceed 107 bytes.
    mapfile -t serve < <(mysqld_command --init-file="$dir/vitess-mysql/init.sql" --socket=mysql.sock \
        --bind-address=127.0.0.1 --port="${port[vitess-mysql]}" --mysqlx=OFF --pid-file=mysqld.pid \
        --gtid-mode=ON --enforce-gtid-consistency=ON --log-bin=binlog --performance-schema=OFF --max-connections=1000 \
        --innodb-buffer-pool-size=512M)
    launch vitess-mysql "${serve[@]}"
}

launch_vtcombo() {
    local topology='{"cells": ["zone1"], "keyspaces": [
        {"name": "first", "replicaCount": 1, "shards": [{"name": "0"}]},
        {"name": "second", "replicaCount": 1, "shards": [{"name": "0"}]},
        {"name": "sharded", "replicaCount": 1, "shards": [{"name": "-80"}, {"name": "80-"}]}]}'
    local login=() user
    for user in app appdebug dba allprivs repl filtered; do
        login+=("--db-$user-user" root)
    done
    await_ready vitess-mysql
    # SINGLE: a transaction that spans two shards fails.
    VTDATAROOT=$dir/vtcombo/data MYSQL_FLAVOR=MySQL80 launch vtcombo "${unprivileged[@]}" \
        "$dir/vtcombo-module/vtcombo-$vitess_version" --json-topo "$topology" --cell zone1 --schema-dir schema \
        --db-socket ../vitess-mysql/data/mysql.sock "${login[@]}" --tablet-types-to-wait PRIMARY \
        --mysql-server-bind-address 127.0.0.1 --mysql-server-port "${port[vtcombo]}" --mysql-auth-server-impl none \
        --transaction-mode SINGLE
}
