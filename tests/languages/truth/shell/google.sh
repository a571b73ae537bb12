#######################################
# Cleans up files.
# Globals:
#   BACKUP_DIR
# Arguments:
#   $1 - the file
# Returns:
#   0 if it went well.
#######################################
cleanup() {
  rm "$1"
}
