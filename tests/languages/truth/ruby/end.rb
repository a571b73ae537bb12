# Before the end.
def before
  DATA.read
end
__END__
# Data.
def data
end
