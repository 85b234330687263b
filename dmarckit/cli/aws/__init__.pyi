from . import plan as plan, stack as stack, template as template
